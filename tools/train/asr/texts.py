"""Draw texts to speak: sentences, templates, numbers, lists of words.

`Texts(corpus, seed, test)` gives one text after another, in the form of the
transcripts: cased, with , . ? ! and numbers spelled as words.
"""

import collections
import random
import re

ONES = ("zero one two three four five six seven eight nine ten eleven twelve "
        "thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
        ).split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
ORDINALS = {"one": "first", "two": "second", "three": "third",
            "five": "fifth", "eight": "eighth", "nine": "ninth",
            "twelve": "twelfth"}
MONTHS = ("January February March April May June July August September "
          "October November December").split()
DAYS = ("Monday Tuesday Wednesday Thursday Friday Saturday Sunday").split()
PLACES = ("Paris London Boston Chicago Berlin Rome Madrid Dublin Oslo Vienna "
          "Cairo Lagos Nairobi Delhi Tokyo Sydney Toronto Houston Denver "
          "Seattle Texas Florida California England Scotland Ireland France "
          "Germany Spain Italy Canada Mexico Brazil India China Japan Africa "
          "Europe America Australia").split()
PEOPLE = ("I you we they he she John Mary Peter Anna David Sarah Tom Lucy "
          "Michael Emma James Alice").split()
GROUPS = {
    "thing": "the door,the window,a cup of coffee,some water,the book,my "
    "phone,the keys,your bag,the car,the train,the bus,a letter,the newspaper,"
    "the radio,a song,the picture,our house,the garden,the dog,a cat,the "
    "children,his brother,her sister,my mother,the doctor,the teacher,the "
    "weather,the news,the meeting,the office,the report,lunch,dinner,breakfast"
    ",the kitchen,the table,a chair,the bed,the light,the street,the river,"
    "the bridge,the school,the shop,the market,the money,a ticket,the answer,"
    "the question,the problem,an idea,the plan,this word,the whole story,the "
    "truth,a new job,the computer,the screen,a message,the email,the file,the "
    "music,the game,the team,a friend,my friends,the family,some bread,an "
    "apple,the milk,a glass of wine,the bill,the box,the paper,a pen,the "
    "clock,the time,the country,the people,the world".split(","),
    "verb": "see,find,get,take,bring,buy,sell,open,close,move,keep,leave,lose"
    ",want,need,like,love,hate,remember,forget,know,understand,hear,watch,read"
    ",write,send,show,give,make,use,try,call,ask,help,pay for,look for,look "
    "at,wait for,talk about,think about,listen to,clean,check,change,start,"
    "finish,stop,fix,break,build,carry,drop,hold,turn,share,save".split(","),
    "past": "saw,found,got,took,brought,bought,sold,opened,closed,moved,kept,"
    "left,lost,wanted,needed,liked,loved,remembered,forgot,knew,understood,"
    "heard,watched,read,wrote,sent,showed,gave,made,used,tried,called,asked,"
    "helped,paid for,looked for,looked at,waited for,talked about,thought "
    "about,listened to,cleaned,checked,changed,started,finished,stopped,fixed,"
    "broke,built,carried,dropped,held,turned,shared,saved".split(","),
    "when": "now,today,tomorrow,yesterday,tonight,this morning,this evening,"
    "next week,last week,next year,last night,right now,soon,later,again,"
    "every day,at noon,in the morning,in the afternoon,before dinner,after "
    "work,on the way home,in a minute,all day,for a long time,once more,at "
    "home,at school,at work,outside,upstairs,over there,here".split(","),
    "adj": "good,bad,new,old,big,small,long,short,hot,cold,warm,nice,great,"
    "beautiful,happy,sad,tired,hungry,angry,busy,free,easy,hard,difficult,"
    "right,wrong,true,early,late,quick,slow,loud,quiet,clean,dirty,full,empty"
    ",cheap,expensive,strange,important,interesting,ready,sorry,sure,afraid,"
    "better,worse,best,worst,different,same,open,closed,strong,weak,young,"
    "dark,light,heavy,wonderful,terrible,perfect".split(","),
}
FRAMES = [
    "I {verb} {thing} {when}.", "Do you {verb} {thing}?",
    "Did {who} {verb} {thing} {when}?", "{who} {past} {thing} {when}.",
    "{who} {past} {thing}, but {who} {past} {thing}.",
    "I don't {verb} {thing}.", "Don't {verb} {thing}!",
    "Please {verb} {thing} {when}.", "Can you {verb} {thing} for me?",
    "Could you please {verb} {thing} {when}?", "Let's {verb} {thing} {when}.",
    "We should {verb} {thing} {when}.", "You have to {verb} {thing}.",
    "I'm going to {verb} {thing} {when}.", "I'll {verb} {thing} {when}.",
    "Would you like to {verb} {thing}?", "It's very {adj} {when}.",
    "That was {adj}, wasn't it?", "What a {adj} day!",
    "How {adj} is {thing}?", "{thing} is {adj}.", "{thing} was too {adj}.",
    "Is {thing} {adj}?", "I think {thing} is {adj}.",
    "I thought {who} {past} {thing}.", "Why did {who} {verb} {thing}?",
    "Where is {thing}?", "Where did {who} {verb} {thing}?",
    "What did {who} {verb} {when}?", "Who {past} {thing} {when}?",
    "When will {who} {verb} {thing}?", "How do you {verb} {thing}?",
    "Have you ever been to {place}?", "{who} went to {place} {when}.",
    "The train to {place} leaves at {time}.", "It's {time}.",
    "We're flying to {place} on {date}.", "See you {when}.",
    "My name is {name}.", "This is {name} from {place}.",
    "{name}, can you {verb} {thing}?", "I live in {place} with {name}.",
    "Are you {adj}?", "No, I'm not {adj}.", "Yes, I am.", "I don't know.",
    "I have {n} of them.", "That costs {n} dollars.", "It takes {n} minutes.",
    "The number is {digits}.", "Call {digits}.", "My number is {digits}.",
    "I was born in {year}.", "In {year}, {who} {past} {thing}.",
    "Set a timer for {n} minutes.", "Set an alarm for {time}.",
    "Turn on the lights.", "Turn off {thing}.", "Turn the volume up.",
    "Play some music.", "Stop.", "Go back.", "Next.", "Cancel.", "Help.",
    "Open {thing}.", "Close {thing}.", "What time is it?",
    "What's the weather like in {place}?", "Remind me to {verb} {thing} "
    "{when}.", "Add {n} {adj} things to my list.", "Send a message to {name}.",
    "Room {n}, please.", "Chapter {n}.", "Page {n}.", "{n} percent.",
    "{n} and {n} make {n}.", "The {ord} of {month}.", "On {date} in {year}.",
    "He was the {ord} to {verb} {thing}.", "{day}, {date}.",
    "{n} point {digit} {digit}.", "Half past {small}.", "A quarter to {small}."
    , "Thank you very much.", "Thanks, {name}.", "Good morning, {name}.",
    "Good evening, everybody.", "Hello, how are you?", "I'm fine, thank you.",
    "Excuse me, where is {thing}?", "I'm sorry, I don't understand.",
    "Oh no, {who} {past} {thing} again!", "Well, {who} didn't {verb} {thing}.",
    "If you {verb} {thing}, you can {verb} {thing}.",
    "Ask {name} to {verb} {thing}, not {thing}.",
    "You can't {verb} {thing} and {verb} {thing}.",
    "And so, my friends, we must {verb} {thing}.", "Never mind.",
    "It doesn't matter.", "Not {when}.", "Maybe {when}.", "All right.",
    "Of course {who} {past} it.", "There is {thing}.", "There are {n} people "
    "{when}.", "{who} said that {thing} was {adj}.", "Tell {name} that I "
    "{past} {thing}.", "Nobody {past} {thing}.", "Everybody {past} {thing}.",
    "They don't {verb} it any more.", "Is it {adj} or {adj}?",
    "The {word} is {adj}.", "I said {word}, not {word}.", "The word is {word}.",
    "What does {word} mean?", "Spell {word}, please.", "{word} and {word}.",
    "She likes {word}, {word} and {word}.", "It was the {word} of {thing}.",
]
SHORT = ("Yes. No. Stop. Go. Okay. Hello. Goodbye. Please. Thanks. Sorry. Up. "
         "Down. Left. Right. On. Off. Wait. Again. Start. Never. Always. Maybe."
         " What? Why? Who? Where? When? How? Really? Fine. Good. Great! Wow! "
         "House. Tree. Bird. Dog. Cat. Bed. Happy. Marvin. Sheila.").split()


def number(n):
    """Words of a number from 0 to 999999, said the American way."""
    if n < 20:
        return ONES[n]
    if n < 100:
        return TENS[n // 10 - 2] + (" " + ONES[n % 10] if n % 10 else "")
    if n < 1000:
        rest = " " + number(n % 100) if n % 100 else ""
        return ONES[n // 100] + " hundred" + rest
    rest = " " + number(n % 1000) if n % 1000 else ""
    return number(n // 1000) + " thousand" + rest


def ordinal(n):
    words = number(n).split()
    last = words[-1]
    if last in ORDINALS:
        last = ORDINALS[last]
    elif last.endswith("y"):
        last = last[:-1] + "ieth"
    else:
        last += "th"
    return " ".join(words[:-1] + [last])


def year(n):
    if n // 100 == 20 and n < 2010:
        return "two thousand" + (" and " + ONES[n % 100] if n % 100 else "")
    if n % 100 == 0:
        return number(n // 100) + " hundred"
    if n % 100 < 10:
        return number(n // 100) + " oh " + ONES[n % 100]
    return number(n // 100) + " " + number(n % 100)


class Texts:
    """Random texts; `test`: of kept sentences only, without templates."""

    def __init__(self, corpus, seed, test=False):
        self.rng = random.Random(seed)
        self.sentences = corpus["test" if test else "train"]
        self.words, self.common = corpus["words"], corpus["common"]
        self.names = corpus["names"]
        self.test = test
        self.chain = None

    def any_number(self):
        top = self.rng.choice([10, 20, 100, 100, 1000, 10000, 1000000])
        return number(self.rng.randrange(top))

    def digits(self):
        count = self.rng.choice([1, 2, 3, 3, 4, 4, 5, 6, 7, 7, 10])
        said = [self.rng.choice(ONES[:10]) for _ in range(count)]
        if self.rng.random() < 0.3:
            said = ["oh" if w == "zero" else w for w in said]
        step = self.rng.choice([3, 4, 20])
        groups = [" ".join(said[i:i + step]) for i in range(0, count, step)]
        return ", ".join(groups)

    def slot(self, name):
        r = self.rng
        if name in GROUPS:
            if name == "thing" and r.random() < 0.3:
                return r.choice(["the ", "a ", "my ", "this ", "the "
                                 + r.choice(self.common) + " "]
                                ) + r.choice(self.common)
            return r.choice(GROUPS[name])
        if name == "who":
            return r.choice(PEOPLE)
        if name == "name":
            return r.choice(self.names if r.random() < 0.6 else PEOPLE[6:])
        if name == "place":
            return r.choice(self.names if r.random() < 0.2 else PLACES)
        if name == "n":
            return self.any_number()
        if name == "small":
            return number(r.randint(1, 12))
        if name == "digit":
            return ONES[r.randrange(10)]
        if name == "digits":
            return self.digits()
        if name == "ord":
            return ordinal(r.randint(1, 31))
        if name == "month":
            return r.choice(MONTHS)
        if name == "day":
            return r.choice(DAYS)
        if name == "year":
            return year(r.randint(1700, 2035))
        if name == "date":
            if r.random() < 0.5:
                return "the " + ordinal(r.randint(1, 31)) + " of " + \
                    r.choice(MONTHS)
            return r.choice(MONTHS) + " " + ordinal(r.randint(1, 31))
        if name == "time":
            hour, minute = number(r.randint(1, 12)), r.choice(
                [0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, r.randint(10, 59)])
            said = hour if minute else hour + " o'clock"
            if minute:
                said += " " + ("oh " if minute < 10 else "") + number(minute)
            return said + r.choice(["", "", " in the morning", " at night"])
        return r.choice(self.words if r.random() < 0.4 else self.common)

    def template(self):
        text = re.sub(r"\{(\w+)\}", lambda m: self.slot(m[1]),
                      self.rng.choice(FRAMES))
        return text[:1].upper() + text[1:]

    def listed(self):
        """A few words that have nothing to do with each other."""
        r = self.rng
        pool = r.choice([self.words, self.common, self.common])
        said = [r.choice(pool) for _ in range(r.randint(1, 9))]
        if r.random() < 0.2:
            said = [r.choice(self.names) for _ in said[:4]]
        text = said[0]
        for word in said[1:]:
            text += r.choice([" ", " ", " ", " ", ", ", " and ", " or ",
                              " the ", " of the ", " to "]) + word
        return text[:1].upper() + text[1:] + r.choice("....?!")

    def spelled(self):
        r = self.rng
        letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
        said = [r.choice(letters) for _ in range(r.choice([1, 1, 1, 2, 3, 5]))]
        if r.random() < 0.25:
            said.append(ONES[r.randrange(10)])
        return r.choice([" ", ", "]).join(said) + "."

    def short(self):
        r = self.rng
        if r.random() < 0.3:
            return r.choice(SHORT)
        word = r.choice([r.choice(self.common), number(r.randrange(10)),
                         number(r.randrange(100)), r.choice(self.names),
                         r.choice(MONTHS + DAYS + PLACES)])
        return word[:1].upper() + word[1:] + "."

    def babbled(self):
        """A sentence of a Markov chain: likely pairs, unlikely wholes."""
        if self.chain is None:
            self.chain = collections.defaultdict(list)
            for text in self.sentences[::3]:
                tokens = ["<"] + text.split()
                for a, b in zip(tokens, tokens[1:]):
                    self.chain[a].append(b)
        said, last = [], "<"
        while len(said) < 16:
            if last not in self.chain:
                break
            last = self.rng.choice(self.chain[last])
            said.append(last)
            if last[-1] in ".?!" and self.rng.random() < 0.8:
                break
        text = " ".join(said).rstrip(",.?!")
        return text[:1].upper() + text[1:] + self.rng.choice("...?")

    def part(self):
        """A run of words of a sentence, so that any word can begin."""
        words = self.rng.choice(self.sentences).split()
        size = self.rng.randint(2, 14)
        begin = self.rng.randrange(max(1, len(words) - size + 1))
        text = " ".join(words[begin:begin + size]).rstrip(" ,.?!")
        text = text.lstrip(" ,")
        return text[:1].upper() + text[1:] + "."

    def draw(self):
        """One text; length 1 to about 25 words."""
        r = self.rng
        if self.test:
            for _ in range(50):
                text = r.choice(self.sentences)
                if len(text.split()) <= 20:
                    return text
        roll = r.random()
        if roll < 0.42:
            text = r.choice(self.sentences)
            while len(text.split()) > 24:
                text = r.choice(self.sentences)
        elif roll < 0.54:
            text = self.part()
        elif roll < 0.75:
            text = self.template()
        elif roll < 0.83:
            text = self.babbled()
        elif roll < 0.92:
            text = self.listed()
        elif roll < 0.97:
            text = self.short()
        else:
            text = self.spelled()
        return text


def scored(text):
    """Words of a text for the word error rate."""
    text = re.sub(r"[^a-z' ]", " ", text.lower().replace("\u2019", "'"))
    return text.replace("'", "").split()


def errors(reference, heard):
    """Word errors (Levenshtein) of two lists of words."""
    row = list(range(len(heard) + 1))
    for i, word in enumerate(reference, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(heard, 1):
            before, row[j] = row[j], min(
                row[j] + 1, row[j - 1] + 1, before + (word != other))
    return row[-1]
