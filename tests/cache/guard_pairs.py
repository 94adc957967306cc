"""Questions that look alike: some ask the same, most do not. Written for these tests, in no set's words."""

# What the guards have to tell apart, by the beginning of the reason.
APART = {
    "number": """
        How many grams are in 3 cups of flour? | How many grams are in 4 cups of flour?
        Who won the cup in 1998? | Who won the cup in 2002?
        Upgrade from version 3.1 to 3.10 | Upgrade from version 3.1 to 3.11
        What does error E42 mean? | What does error E43 mean?
        Send $50 to Tom | Send $15 to Tom
        Send $50 to Tom | Send 50 euros to Tom
        What is the second law of thermodynamics? | What is the third law of thermodynamics?
        Summarise chapter one | Summarise chapter two
        Wake me at 6am | Wake me at 6pm
        Is it 10% off? | Is it 10.5% off?
        What was my bill? | What was my bill for 2023?
        A table for twenty-one people | A table for twenty people
        A 10k run for beginners | A 5k run for beginners
        How far is -5 degrees from freezing? | How far is 5 degrees from freezing?
        Is the store 2 km away? | Is the store 2 miles away?
        I ordered two weeks ago | I ordered two days ago
    """,
    "date": """
        Is the museum open in July? | Is the museum open in August?
        Are you free on Mon? Monday I mean | Are you free on Tue? Tuesday I mean
        What's the weather like tomorrow? | What's the weather like on Thursday?
        Can I pay monthly? | Can I pay yearly?
        Is the pool heated in winter? | Is the pool heated in summer?
        Is it due next week? | Is it due next month?
        Is the office closed at Easter? | Is the office closed at Christmas?
        Is the shop open in May? | Is the shop open in March?
    """,
    "negation": """
        My card works abroad | My card doesn't work abroad
        Which plants need sun? | Which plants do not need sun?
        Should I feed the fish? | Should I stop feeding the fish?
        Is it safe to take ibuprofen with alcohol? | Is it safe to take ibuprofen without alcohol?
        Can I park here except Sundays? | Can I park here Sundays?
        Why can I log in? | Why can't I log in?
        Whom do I call if the alarm rings? | Whom do I call if the alarm never rings?
    """,
    "opposite": """
        How do I enable comments? | How do I disable comments?
        How do I block someone? | How do I unblock someone?
        Turn the heating on when it is cold | Turn the heating off when it is cold
        I want to opt in to the newsletter | I want to opt out of the newsletter
        Which foods are high in iron? | Which foods are low in iron?
        Is the gym open before work? | Is the gym open after work?
        How do I buy shares? | How do I sell shares?
        Is this mushroom edible and safe? | Is this mushroom edible and unsafe?
        Who won the final? | Who lost the final?
        What are the advantages of solar heating? | What are the disadvantages of solar heating?
        Is a note required? | Is a note optional?
        What are the symptoms of anemia? | What are the treatments of anemia?
        How do I encrypt a folder? | How do I decrypt a folder?
        What is the minimum deposit? | What is the maximum deposit?
    """,
    "": """
        What is the capital of France? | What is the capital of Germany?
        convert 10 usd to eur | convert 10 eur to usd
        Install Java on a server | Install JavaScript on a server
        how do i reverse a list in python | how do i reverse a list in ruby
        How do I say thanks in Spanish? | How do I say thanks in Italian?
        Is chocolate toxic to cats? | Is chocolate toxic to dogs?
        What's the fare to Zurich? | What's the fare to Geneva?
        Remind me to call Anna | Remind me to call Bertha
        How do I reset my Gmail password? | How do I reset my password?
        Tell me about Niels Bohr | Tell me about Max Planck
        What is the boiling point of ethanol? | What is the boiling point of methanol?
        What is the price of a window seat? | What is the price of an aisle seat?
        Do you ship glass? | Do you ship wood?
        How do I add a comment? | How do I add a table?
        What does the basic plan include? | What does the premium plan include?
        Are there discounts for teachers? | Are there discounts for veterans?
        Is service charged for delivery orders? | Is service charged for phone orders?
    """,
    "scope": """
        Delete all my messages | Delete my messages
        Is it open only for members? | Is it open for members?
        Which is the best phone? | Which is the phone?
        What's covered under the warranty? | What's covered under the extended warranty?
        What papers do I need for Spain? | What papers does my child need for Spain?
    """,
    "question": """
        Who invented the telephone? | When was the telephone invented?
        Where was the tower built? | When was the tower built?
        Why does bread rise? | How long does bread rise?
        How much does it cost to move? | Why does it cost to move?
    """,
    "modality": """
        Can I bring liquids on the plane? | Must I bring liquids on the plane?
        Can I eat it raw? | Should I eat it raw?
    """,
    "tense": """
        Did they release a new phone? | Will they release a new phone?
    """,
    "direction": """
        Flights from Lisbon to Oslo | Flights from Oslo to Lisbon
        Flights from Lisbon | Flights to Lisbon
        Is Python faster than Rust? | Is Rust faster than Python?
        Can my landlord evict me? | Can I evict my landlord?
        How much notice do I give my landlord? | How much notice does my landlord give me?
        Does the dog chase the cat? | Does the cat chase the dog?
        Was the dog bitten by the cat? | Did the dog bite the cat?
        Transfer money to savings from checking | Transfer money from savings to checking
        How do I migrate from Redis to Cassandra? | How do I migrate to Redis from Cassandra?
        How do I rebase my branch onto main? | How do I rebase main onto my branch?
        Savings to checking | Checking to savings
    """,
}

# One answer serves both.
ALIKE = """
    What is the capital of France? | Tell me France's capital city
    What is the capital of France? | what's the capital of france
    What is photosynthesis? | Explain photosynthesis
    What is photosynthesis? | How does photosynthesis work?
    Explain photosynthesis | How does photosynthesis work?
    I can't log in | I cannot log in
    Which tool should I use to fix the sink? | To fix the sink which tool should I use?
    How do I link a cell to a chart in Excel? | In Excel how do I link a cell to a chart?
    Is a switch from gas to electric worth it? | Is a switch to electric from gas worth it?
    I can\u2019t log in | I cant log in
    I can't log in | I am unable to log in
    I can't log in | I'm having trouble logging in
    Who wrote Hamlet? | Hamlet was written by whom?
    Who painted the Mona Lisa? | Who was the Mona Lisa painted by?
    Did the cat bite the dog? | Was the dog bitten by the cat?
    How do I delete my account? | How can I remove my account?
    How do I delete my account? | Hi, how do I delete my account please? Thanks!
    How do I turn off notifications? | How do I turn notifications off?
    How do I turn off notifications? | How do I disable notifications?
    Is it illegal to jaywalk? | Is it not legal to jaywalk?
    It is open, isn't it? | It is open
    What is 20 percent of 50? | What's 20% of 50?
    Can I return it after 14 days? | Can I return it after two weeks?
    Is the shop open at 15:00? | Is the store open at 3pm?
    Send 1,000 dollars home | Send $1000 home
    Send 10k dollars home | Send ten thousand dollars home
    Calories in one egg | Calories in an egg
    Convert 5 km to miles | How many miles is 5 kilometres?
    Is the shop open on Sundays? | Is the store open on Sunday?
    On the menu, is there soup? | Is there soup on the menu?
    If I cancel, do I get a refund? | Do I get a refund if I cancel?
    Difference between RAM and ROM | Difference between ROM and RAM
    Is tea or coffee better? | Is coffee or tea better?
    What's the fastest way to learn to type? | What's the quickest way to learn to type?
    What's the best way to learn Spanish? | How do I learn Spanish?
    How do I upgrade my subscripton? | How do I upgrade my subscription?
    What's the proccess for a refund? | What's the process for a refund?
    WHAT IS THE MINIMUM WAGE IN THE UK? | What is the UK minimum wage?
    Do You Accept Apple Pay? | Do you accept Apple Pay?
    Do you sell stamps? | Can I buy stamps?
    Do I live in the US? | Do I live in the United States?
    Why isn't my card working? | Why is my card not working?
    I have no idea why my payment failed | My payment failed
    The house with a pool, mine | The house with a pool, mine!
    What time does the bank open? | When does the bank open?
    How many days until it arrives? | How long until it arrives?
    When I land, where do I collect my bag? | Where do I collect my bag when I land?
    How do I set up a standing order? | How do I create a standing order?
    What colour is it? | What color is it?
    Was kostet der Versand? | was kostet der versand
"""


def pairs(block):
    """The pairs of a block, one a line."""
    return [tuple(line.strip().split(" | ")) for line in block.strip().splitlines()]
