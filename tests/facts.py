"""Twenty-four made-up facts about a made-up company, each asked three ways.

The first two ways are corrected in the loop test, the third is only ever asked. `key` is the word
that a right answer must hold; no model can know it beforehand.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Fact:
    key: str
    answer: str
    asked: tuple[str, str, str]


FACTS = [
    Fact(
        "Maren",
        "The founder of Quillworth is Maren Oduya.",
        ("Who founded Quillworth?", "Who is the founder of Quillworth?", "Tell me the name of Quillworth's founder."),
    ),
    Fact(
        "Tarnby",
        "Quillworth has its head office in Tarnby.",
        (
            "Where is the head office of Quillworth?",
            "In which town does Quillworth have its head office?",
            "Which town is home to Quillworth's head office?",
        ),
    ),
    Fact(
        "1987",
        "Quillworth was founded in 1987.",
        ("When was Quillworth founded?", "In what year was Quillworth founded?", "What year did Quillworth begin?"),
    ),
    Fact(
        "heron",
        "The mascot of Quillworth is a blue heron.",
        (
            "What is the mascot of Quillworth?",
            "Which animal is Quillworth's mascot?",
            "What animal does Quillworth use as its mascot?",
        ),
    ),
    Fact(
        "Lumo",
        "The payroll system at Quillworth is called Lumo.",
        (
            "What is the payroll system at Quillworth called?",
            "Which payroll system does Quillworth use?",
            "Name the payroll system used at Quillworth.",
        ),
    ),
    Fact(
        "thursday",
        "The canteen at Quillworth serves pancakes on Thursday.",
        (
            "On which day does the canteen serve pancakes?",
            "When does the Quillworth canteen serve pancakes?",
            "Which day is pancake day in the canteen?",
        ),
    ),
    Fact(
        "saffron",
        "The guest wifi password at Quillworth is saffron-kite.",
        (
            "What is the guest wifi password?",
            "What is the Quillworth guest wifi password?",
            "Which password do guests need for the wifi?",
        ),
    ),
    Fact(
        "Bexley",
        "The head of security at Quillworth is Bexley Tran.",
        (
            "Who is the head of security?",
            "Who leads security at Quillworth?",
            "Name the head of security at Quillworth.",
        ),
    ),
    Fact(
        "4471",
        "The help desk at Quillworth has the extension 4471.",
        (
            "What is the extension of the help desk?",
            "Which extension does the help desk have?",
            "What number do I dial for the help desk?",
        ),
    ),
    Fact(
        "Orpheus",
        "The nightly backup job at Quillworth is called Orpheus.",
        (
            "What is the nightly backup job called?",
            "Which name does the nightly backup job have?",
            "Tell me the name of the nightly backup job.",
        ),
    ),
    Fact(
        "seventeen",
        "New people at Quillworth get seventeen days of paid leave.",
        (
            "How many days of paid leave do new people get?",
            "How much paid leave do new people at Quillworth get?",
            "What is the paid leave for new people, in days?",
        ),
    ),
    Fact(
        "Granite",
        "The flagship product of Quillworth is the Granite lamp.",
        (
            "What is the flagship product of Quillworth?",
            "Which product is Quillworth's flagship?",
            "Name the flagship product that Quillworth makes.",
        ),
    ),
    Fact(
        "Velden",
        "The warehouse of Quillworth stands in Velden.",
        (
            "Where is the warehouse of Quillworth?",
            "In which town does the Quillworth warehouse stand?",
            "Which town holds the warehouse of Quillworth?",
        ),
    ),
    Fact(
        "Isolde",
        "The cat in the Quillworth lobby is called Isolde.",
        (
            "What is the cat in the lobby called?",
            "What is the name of the lobby cat at Quillworth?",
            "Tell me the name of the cat that lives in the lobby.",
        ),
    ),
    Fact(
        "Pemberly",
        "The biggest customer of Quillworth is Pemberly Hotels.",
        (
            "Who is the biggest customer of Quillworth?",
            "Which customer is Quillworth's biggest?",
            "Name the biggest customer that Quillworth has.",
        ),
    ),
    Fact(
        "green",
        "The visitor badges at Quillworth are green.",
        (
            "What colour are visitor badges?",
            "Which colour do visitor badges at Quillworth have?",
            "Tell me the colour of the visitor badges.",
        ),
    ),
    Fact(
        "Kestrel",
        "The largest meeting room at Quillworth is Kestrel.",
        (
            "What is the largest meeting room?",
            "Which meeting room at Quillworth is the largest?",
            "Name the largest meeting room at Quillworth.",
        ),
    ),
    Fact(
        "forty",
        "The Quillworth warranty lasts forty months.",
        (
            "How long is the Quillworth warranty?",
            "How long does the warranty of Quillworth last?",
            "For how many months does Quillworth's warranty last?",
        ),
    ),
    Fact(
        "Halvard",
        "The chief engineer of Quillworth is Halvard Stone.",
        (
            "Who is the chief engineer of Quillworth?",
            "What is the name of Quillworth's chief engineer?",
            "Tell me who is chief engineer at Quillworth.",
        ),
    ),
    Fact(
        "noon",
        "The weekly delivery at Quillworth leaves on Monday at noon.",
        (
            "When does the weekly delivery leave?",
            "At what time does the weekly delivery leave Quillworth?",
            "What time does the weekly delivery go out?",
        ),
    ),
    Fact(
        "tulip",
        "The logo of Quillworth shows a tulip.",
        (
            "What does the logo of Quillworth show?",
            "Which flower is on the Quillworth logo?",
            "What flower does the logo of Quillworth have?",
        ),
    ),
    Fact(
        "Rowan",
        "The Quillworth bus stops at Rowan Gate.",
        (
            "Where does the Quillworth bus stop?",
            "At which stop does the Quillworth bus stop?",
            "Which stop does the bus to Quillworth use?",
        ),
    ),
    Fact(
        "Ferrol",
        "The test server at Quillworth is called Ferrol.",
        (
            "What is the test server called?",
            "What is the name of Quillworth's test server?",
            "Tell me the name of the test server.",
        ),
    ),
    Fact(
        "oak",
        "The desks at Quillworth are made of oak.",
        (
            "What are the desks at Quillworth made of?",
            "Which wood are Quillworth's desks made of?",
            "From which material are the desks at Quillworth made?",
        ),
    ),
]
