"""What can be asked about a made-up company: `bench/companies.py` fills these in.

`{c}` stands for the company, `{k}` for what nobody can know beforehand, `{f}` for a made-up family name. `near`
wordings ask outright; `free` ones as people talk, often without the words of the answer.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Topic:
    """One thing to know. `kind` says what its key is made of (see `companies.py`)."""

    kind: str
    answers: tuple[str, ...]
    near: tuple[str, ...]
    free: tuple[str, ...]


TOPICS = (
    Topic(
        "given",
        ("The founder of {c} is {k} {f}.", "{c} was founded by {k} {f}."),
        (
            "Who founded {c}?",
            "Who is the founder of {c}?",
            "Tell me the name of {c}'s founder.",
            "What is the name of the person who founded {c}?",
        ),
        ("Whose idea was {c} in the first place?", "Who started the company {c}?", "Who do we have to thank for {c}?"),
    ),
    Topic(
        "place",
        ("{c} has its head office in {k}.", "The head office of {c} is in {k}."),
        (
            "Where is the head office of {c}?",
            "In which town does {c} have its head office?",
            "Which town is home to {c}'s head office?",
            "What town is {c}'s head office in?",
        ),
        (
            "I have to visit the {c} head office. Where do I go?",
            "Where are the headquarters of {c}?",
            "My train goes to the {c} head office; which town is that?",
        ),
    ),
    Topic(
        "year",
        ("{c} was founded in {k}.", "{c} began in the year {k}."),
        (
            "When was {c} founded?",
            "In what year was {c} founded?",
            "What year did {c} begin?",
            "Which year was {c} founded in?",
        ),
        (
            "Since when has {c} been around?",
            "Do you know the year that {c} got started?",
            "How far back does {c} go? Give me the year.",
        ),
    ),
    Topic(
        "animal",
        ("The mascot of {c} is a {k}.", "{c} has a {k} as its mascot."),
        (
            "What is the mascot of {c}?",
            "Which animal is {c}'s mascot?",
            "What animal does {c} use as its mascot?",
            "Name the animal that is the mascot of {c}.",
        ),
        (
            "Which animal would I see on a {c} T-shirt as the mascot?",
            "There is an animal that stands for {c}. Which one?",
            "Somebody dressed up as the {c} mascot. As what animal?",
        ),
    ),
    Topic(
        "name",
        ("The payroll system at {c} is called {k}.", "{c} pays its people through a system called {k}."),
        (
            "What is the payroll system at {c} called?",
            "Which payroll system does {c} use?",
            "Name the payroll system used at {c}.",
            "What is the name of {c}'s payroll system?",
        ),
        (
            "Which program takes care of payroll at {c}?",
            "I work on payroll at {c}. Which system do I need?",
            "Where are salaries worked out at {c}, in which system?",
        ),
    ),
    Topic(
        "day",
        ("The canteen at {c} serves pancakes on {k}.", "Pancakes are served in the {c} canteen on {k}."),
        (
            "On which day does the canteen at {c} serve pancakes?",
            "When does the {c} canteen serve pancakes?",
            "Which day is pancake day in the {c} canteen?",
            "What day are there pancakes in the {c} canteen?",
        ),
        (
            "I want pancakes at {c}. Which day should I come?",
            "Pancakes in the {c} canteen: what day?",
            "Which day of the week do people at {c} get pancakes?",
        ),
    ),
    Topic(
        "password",
        ("The guest wifi password at {c} is {k}.", "At {c} guests use the wifi password {k}."),
        (
            "What is the guest wifi password at {c}?",
            "Which password do guests need for the wifi at {c}?",
            "Tell me the guest wifi password at {c}.",
            "What password does the guest wifi at {c} have?",
        ),
        (
            "I am a guest at {c} and need the wifi. What do I type in?",
            "How do guests at {c} get on the wifi? The password, please.",
            "My laptop asks for the {c} guest wifi password.",
        ),
    ),
    Topic(
        "given",
        ("The head of security at {c} is {k} {f}.", "{k} {f} leads security at {c}."),
        (
            "Who is the head of security at {c}?",
            "Who leads security at {c}?",
            "Name the head of security at {c}.",
            "What is the name of {c}'s head of security?",
        ),
        (
            "Someone broke in at {c}! Which head of security should I call?",
            "Who runs the security team of {c}?",
            "I want to talk to the person in charge of security at {c}. Who is it?",
        ),
    ),
    Topic(
        "extension",
        ("The help desk at {c} has the extension {k}.", "At {c} the help desk is reached under extension {k}."),
        (
            "What is the extension of the help desk at {c}?",
            "Which extension does the {c} help desk have?",
            "What number do I dial for the help desk at {c}?",
            "Tell me the extension of {c}'s help desk.",
        ),
        (
            "My screen is black. What is the number of the {c} help desk?",
            "How do I phone the help desk at {c}?",
            "I need to ring the {c} help desk; which extension?",
        ),
    ),
    Topic(
        "name",
        ("The nightly backup job at {c} is called {k}.", "{c} runs a nightly backup job named {k}."),
        (
            "What is the nightly backup job at {c} called?",
            "Which name does {c}'s nightly backup job have?",
            "Tell me the name of the nightly backup job at {c}.",
            "Name the job that makes the nightly backup at {c}.",
        ),
        (
            "Which job saves all the data of {c} at night?",
            "A nightly backup runs at {c}. What do they call it?",
            "What should I look for in the logs of {c} to find the nightly backup?",
        ),
    ),
    Topic(
        "count",
        ("New people at {c} get {k} days of paid leave.", "Paid leave for new people at {c} is {k} days."),
        (
            "How many days of paid leave do new people at {c} get?",
            "How much paid leave do new people at {c} get?",
            "What is the paid leave for new people at {c}, in days?",
            "How many paid days of leave are there for new people at {c}?",
        ),
        (
            "I am about to start at {c}. How much paid leave will I have?",
            "Paid leave in the first year at {c}: how many days?",
            "How long can somebody new at {c} be away on paid leave?",
        ),
    ),
    Topic(
        "name",
        ("The flagship product of {c} is the {k} lamp.", "{c}'s flagship product is a lamp called {k}."),
        (
            "What is the flagship product of {c}?",
            "Which product is {c}'s flagship?",
            "Name the flagship product that {c} makes.",
            "What is {c}'s flagship product called?",
        ),
        (
            "Which lamp is {c} best known for?",
            "If I buy one thing from {c}, their flagship, what is it?",
            "What is the name of the lamp that made {c} famous?",
        ),
    ),
    Topic(
        "place",
        ("The warehouse of {c} stands in {k}.", "{c} keeps its goods in a warehouse in {k}."),
        (
            "Where is the warehouse of {c}?",
            "In which town does the {c} warehouse stand?",
            "Which town holds the warehouse of {c}?",
            "What town is {c}'s warehouse in?",
        ),
        (
            "I drive a truck for {c}. In which town is the warehouse?",
            "Where does {c} store its goods, in which warehouse town?",
            "A parcel left the {c} warehouse. From what town?",
        ),
    ),
    Topic(
        "name",
        ("The cat in the {c} lobby is called {k}.", "{k} is the cat that lives in the {c} lobby."),
        (
            "What is the cat in the {c} lobby called?",
            "What is the name of the lobby cat at {c}?",
            "Tell me the name of the cat that lives in the {c} lobby.",
            "Which name does the cat in {c}'s lobby have?",
        ),
        (
            "I met a cat in the lobby of {c}! What is its name?",
            "How do I call the cat at {c}?",
            "Who is the furry cat at the entrance of {c}?",
        ),
    ),
    Topic(
        "family",
        ("The biggest customer of {c} is {k} Hotels.", "{c}'s biggest customer is {k} Hotels."),
        (
            "Who is the biggest customer of {c}?",
            "Which customer is {c}'s biggest?",
            "Name the biggest customer that {c} has.",
            "What is the name of {c}'s biggest customer?",
        ),
        (
            "Which customer buys the most from {c}?",
            "Who is the most important customer for {c}, by size?",
            "Which customer can {c} least afford to lose, the biggest one?",
        ),
    ),
    Topic(
        "colour",
        ("The visitor badges at {c} are {k}.", "Visitors at {c} wear a {k} badge."),
        (
            "What colour are visitor badges at {c}?",
            "Which colour do visitor badges at {c} have?",
            "Tell me the colour of the visitor badges at {c}.",
            "What is the colour of a visitor badge at {c}?",
        ),
        (
            "How do I spot a visitor at {c} by the badge?",
            "I got my visitor badge at {c}. Which colour should it be?",
            "Visitor badges at {c} all have one colour: which?",
        ),
    ),
    Topic(
        "name",
        ("The largest meeting room at {c} is {k}.", "At {c} the largest meeting room is called {k}."),
        (
            "What is the largest meeting room at {c}?",
            "Which meeting room at {c} is the largest?",
            "Name the largest meeting room at {c}.",
            "What is the name of {c}'s largest meeting room?",
        ),
        (
            "We are forty people and meet at {c}. Which meeting room do we book?",
            "Which room at {c} fits the most people for a meeting?",
            "I need the biggest meeting room that {c} has. What is it called?",
        ),
    ),
    Topic(
        "count",
        ("The {c} warranty lasts {k} months.", "Things from {c} have a warranty of {k} months."),
        (
            "How long is the {c} warranty?",
            "How long does the warranty of {c} last?",
            "For how many months does {c}'s warranty last?",
            "How many months of warranty does {c} give?",
        ),
        (
            "My lamp from {c} broke. How many months is the warranty?",
            "Until when can I use the warranty of {c}, in months?",
            "What warranty do I get when I buy from {c}?",
        ),
    ),
    Topic(
        "given",
        ("The chief engineer of {c} is {k} {f}.", "{k} {f} is chief engineer at {c}."),
        (
            "Who is the chief engineer of {c}?",
            "What is the name of {c}'s chief engineer?",
            "Tell me who is chief engineer at {c}.",
            "Name the chief engineer of {c}.",
        ),
        (
            "Which person leads all the engineers at {c}?",
            "Who has the last word in engineering at {c}, as chief engineer?",
            "I want to write to the chief engineer of {c}. What name do I put?",
        ),
    ),
    Topic(
        "hour",
        ("The weekly delivery at {c} leaves at {k} o'clock.", "At {k} o'clock the weekly delivery leaves {c}."),
        (
            "When does the weekly delivery at {c} leave?",
            "At what time does the weekly delivery leave {c}?",
            "What time does the weekly delivery of {c} go out?",
            "At which hour does {c}'s weekly delivery leave?",
        ),
        (
            "I have a parcel for the weekly delivery at {c}. By what time must it be there?",
            "What hour is the weekly delivery at {c}?",
            "The weekly delivery truck of {c}: when is it off?",
        ),
    ),
    Topic(
        "flower",
        ("The logo of {c} shows a {k}.", "{c} has a {k} in its logo."),
        (
            "What does the logo of {c} show?",
            "Which flower is on the {c} logo?",
            "What flower does the logo of {c} have?",
            "Name the flower in {c}'s logo.",
        ),
        (
            "I want to draw the logo of {c}. Which flower do I need?",
            "What is that flower on the {c} letterhead logo?",
            "Describe the logo of {c}: which flower is it?",
        ),
    ),
    Topic(
        "place",
        ("The {c} bus stops at {k} Gate.", "{k} Gate is where the {c} bus stops."),
        (
            "Where does the {c} bus stop?",
            "At which stop does the {c} bus stop?",
            "Which stop does the bus to {c} use?",
            "What is the stop of the {c} bus called?",
        ),
        (
            "I take the bus to {c}. Where do I get on?",
            "Where should I wait for the bus of {c}?",
            "Where do people for {c} get off the bus?",
        ),
    ),
    Topic(
        "name",
        ("The test server at {c} is called {k}.", "{c} has a test server named {k}."),
        (
            "What is the test server at {c} called?",
            "What is the name of {c}'s test server?",
            "Tell me the name of the test server at {c}.",
            "Which name does the test server of {c} have?",
        ),
        (
            "I want to try a new build at {c}. On which test server?",
            "Which server at {c} is only for testing?",
            "What do I type to log in on the test server of {c}?",
        ),
    ),
    Topic(
        "wood",
        ("The desks at {c} are made of {k}.", "At {c} all desks are of {k}."),
        (
            "What are the desks at {c} made of?",
            "Which wood are {c}'s desks made of?",
            "From which material are the desks at {c} made?",
            "What wood is used for the desks at {c}?",
        ),
        (
            "I scratched my desk at {c}. What wood is it?",
            "What is the material of a desk at {c}?",
            "Which wood should I order for one more desk at {c}?",
        ),
    ),
    Topic(
        "given",
        ("The lawyer of {c} is {k} {f}.", "{k} {f} is the lawyer who works for {c}."),
        (
            "Who is the lawyer of {c}?",
            "What is the name of {c}'s lawyer?",
            "Name the lawyer who works for {c}.",
            "Which lawyer does {c} have?",
        ),
        (
            "Someone wants to sue {c}. Which lawyer answers?",
            "Who reads the contracts of {c} as its lawyer?",
            "I have a legal question at {c}. Who is our lawyer?",
        ),
    ),
    Topic(
        "extension",
        ("The door code of the {c} archive is {k}.", "The archive at {c} opens with the code {k}."),
        (
            "What is the door code of the {c} archive?",
            "Which code opens the archive at {c}?",
            "Tell me the door code of the archive at {c}.",
            "What code does the archive door at {c} have?",
        ),
        (
            "I stand in front of the {c} archive and it is locked. What is the code?",
            "How do I get into the archive of {c}? I need the code.",
            "The archive at {c} wants four digits. Which?",
        ),
    ),
    Topic(
        "name",
        ("The staff newsletter of {c} is called {k}.", "{c} sends its staff a newsletter named {k}."),
        (
            "What is the staff newsletter of {c} called?",
            "What is the name of {c}'s staff newsletter?",
            "Tell me the name of the staff newsletter at {c}.",
            "Which name does the staff newsletter of {c} have?",
        ),
        (
            "Which newsletter do people at {c} read?",
            "I wrote something for the newsletter of {c}. What is it called?",
            "What do they call the newsletter that the staff of {c} gets?",
        ),
    ),
    Topic(
        "day",
        ("The team meeting at {c} is on {k}.", "At {c} the team meets on {k}."),
        (
            "On which day is the team meeting at {c}?",
            "When is the team meeting at {c}?",
            "Which day does {c} have its team meeting?",
            "What day is the team meeting of {c}?",
        ),
        (
            "Which day should I keep free for the team meeting at {c}?",
            "I missed the team meeting at {c}. What day was it?",
            "What day of the week does the team of {c} meet?",
        ),
    ),
    Topic(
        "colour",
        ("The delivery vans of {c} are {k}.", "{c} has {k} delivery vans."),
        (
            "What colour are the delivery vans of {c}?",
            "Which colour do {c}'s delivery vans have?",
            "Tell me the colour of the delivery vans at {c}.",
            "What is the colour of a {c} delivery van?",
        ),
        (
            "How do I know a delivery van of {c} by its colour?",
            "A van of {c} is coming. Which colour should I look for?",
            "If I paint a delivery van for {c}, which colour do I take?",
        ),
    ),
    Topic(
        "food",
        ("On its birthday {c} gives everyone {k}.", "Everyone at {c} gets {k} on the company's birthday."),
        (
            "What does {c} give everyone on its birthday?",
            "What does everyone at {c} get on the company's birthday?",
            "Which food does {c} give everyone on its birthday?",
            "What is there to eat on the birthday of {c}?",
        ),
        (
            "It is the birthday of {c}! What will we eat?",
            "What treat do people at {c} get when the company has its birthday?",
            "Which food should I order for the birthday of {c}?",
        ),
    ),
    Topic(
        "count",
        ("The {c} office has {k} floors.", "There are {k} floors in the office of {c}."),
        (
            "How many floors does the {c} office have?",
            "How many floors are there in the office of {c}?",
            "What is the number of floors in {c}'s office?",
            "Tell me how many floors the office of {c} has.",
        ),
        (
            "How tall is the office of {c}, in floors?",
            "If I climb all the stairs at {c}, how many floors is that?",
            "The lift at {c} has a button for each of how many floors?",
        ),
    ),
)
