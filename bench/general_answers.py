"""General prompts with good answers: what a tuned model must still find as likely as the base model does.

Written for the bench alone: no contestant trains on them, and Rapport's own general prompts are others.
"""

GENERAL = (
    ("What is the capital of Italy?", "The capital of Italy is Rome."),
    (
        "Why do we have seasons?",
        "We have seasons because the Earth's axis is tilted. As the Earth moves around the sun, each half of it "
        "leans towards the sun for a part of the year.",
    ),
    ("What is 15 plus 27?", "15 plus 27 is 42."),
    ("Who wrote Hamlet?", "Hamlet was written by William Shakespeare around the year 1600."),
    (
        "How do I make a cup of tea?",
        "Boil some water and pour it over a tea bag in a cup. Let it steep for three to five minutes, then take out"
        " the bag and add milk or sugar if you like.",
    ),
    (
        "What does a dentist do?",
        "A dentist takes care of teeth and gums. Dentists clean teeth, fill cavities and treat pain in the mouth.",
    ),
    (
        "Tell me a fact about elephants.",
        "Elephants are the largest land animals on Earth. They live in family groups and are known for their good "
        "memory.",
    ),
    ("What is the opposite of 'generous'?", "The opposite of generous is selfish or stingy."),
    (
        "How many continents are there?",
        "There are seven continents: Africa, Antarctica, Asia, Australia, Europe, North America and South America.",
    ),
    (
        "Explain what a budget is.",
        "A budget is a plan for how to spend your money. It lists what you earn and what you spend, so that you do "
        "not spend more than you have.",
    ),
    (
        "What is water made of?",
        "Water is made of hydrogen and oxygen. Each molecule has two hydrogen atoms and one oxygen atom.",
    ),
    ("Give me a synonym for 'happy'.", "A synonym for happy is joyful."),
    (
        "Why should I drink enough water?",
        "Water helps your body to control its temperature, to digest food and to carry nutrients. Without enough of"
        " it you may feel tired and get headaches.",
    ),
    ("What is the currency of Japan?", "The currency of Japan is the yen."),
    (
        "How does a bicycle stay upright?",
        "A bicycle stays upright because the rider steers it under the centre of gravity. When it leans to one "
        "side, the front wheel is turned to that side and brings it back into balance.",
    ),
    ("Write a sentence with the word 'river'.", "The river flowed quietly through the green valley."),
    ("What is a noun?", "A noun is a word that names a person, a place, a thing or an idea."),
    (
        "Who was the first person on the moon?",
        "Neil Armstrong was the first person to walk on the moon, on July 20, 1969.",
    ),
    (
        "Suggest a simple dinner.",
        "You could make pasta with tomato sauce. Cook the pasta, warm the sauce with garlic and olive oil, and "
        "serve it with grated cheese.",
    ),
    ("What is the speed of light?", "The speed of light is about 299,792 kilometres per second in a vacuum."),
    (
        "How can I learn a new language?",
        "Practise a little every day, listen to native speakers, and try to speak as early as you can. Do not worry"
        " about making mistakes.",
    ),
    ("What is the largest planet?", "Jupiter is the largest planet in our solar system."),
    (
        "Why do cats purr?",
        "Cats often purr when they feel content and relaxed. They may also purr when they are hurt or frightened, "
        "to calm themselves.",
    ),
    ("What is an island?", "An island is a piece of land that is surrounded by water on all sides."),
    (
        "Write a short greeting for a birthday card.",
        "Happy birthday! I hope your day is filled with joy, laughter and the people you love.",
    ),
    ("What does CPU stand for?", "CPU stands for central processing unit."),
    (
        "How is bread made?",
        "Bread is made by mixing flour, water, yeast and salt into a dough. The dough is kneaded, left to rise and "
        "then baked in an oven.",
    ),
    (
        "Is a tomato a fruit or a vegetable?",
        "In botany a tomato is a fruit, because it grows from a flower and holds seeds. In cooking it is treated as"
        " a vegetable.",
    ),
    (
        "What can I do when I feel stressed?",
        "Take a few deep breaths, go for a walk or talk to a friend. Regular exercise and enough sleep also help to"
        " reduce stress.",
    ),
    (
        "Who painted the Sistine Chapel ceiling?",
        "The ceiling of the Sistine Chapel was painted by Michelangelo between 1508 and 1512.",
    ),
    ("What is the past tense of 'run'?", "The past tense of run is ran."),
    (
        "Why is exercise good for the heart?",
        "Exercise makes the heart stronger, so that it pumps more blood with less effort. It also lowers blood "
        "pressure and cholesterol.",
    ),
    (
        "What is a prime number?",
        "A prime number is a whole number greater than 1 that can be divided only by 1 and by itself.",
    ),
    ("Name three fruits.", "Three fruits are apples, bananas and oranges."),
    (
        "How do plants drink water?",
        "Plants take up water from the soil through their roots. It then travels through the stem to the leaves.",
    ),
    (
        "What is the tallest mountain in the world?",
        "Mount Everest is the tallest mountain in the world, at 8,849 metres above sea level.",
    ),
    ("Make this sentence polite: Give me the report.", "Could you please send me the report when you have a moment?"),
    (
        "What is a library?",
        "A library is a place where people can read and borrow books, magazines and other materials.",
    ),
    (
        "What causes thunder?",
        "Thunder is caused by lightning. The lightning heats the air so quickly that it expands and makes a loud "
        "sound.",
    ),
    ("Which language is spoken in Brazil?", "The language spoken in Brazil is Portuguese."),
)
