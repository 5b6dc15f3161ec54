"""Which emoji belong to which class.

A class is a list of subgroups of emoji-test.txt, less some names, plus some names. Pictures that
belong together by meaning but not by looks (an anchor among boats, two antennas among tools) are left
out, because a class is what a model learns to draw. What is in no class still teaches the tokenizer.
"""


def names(text):
    return [name.strip() for name in text.strip().split(",")]


# class: (subgroups, names left out, names added)
CLASSES = {
    "smiley": (
        "face-smiling face-affection face-tongue face-hand face-neutral-skeptical face-sleepy face-unwell face-hat "
        "face-glasses face-concerned face-negative",
        "skull, skull and crossbones", ""),
    "person": ("person person-gesture person-role", "deaf person, deaf man, deaf woman", ""),
    "hand": (
        "hand-fingers-open hand-fingers-partial hand-single-finger hand-fingers-closed hands", "handshake", ""),
    "cat face": ("cat-face", "", "cat face"),
    "animal face": (
        "", "",
        """monkey face, dog face, wolf, fox, raccoon, lion, tiger face, horse face, moose, unicorn, cow face,
        pig face, boar, mouse face, hamster, rabbit face, bear, polar bear, koala, panda, frog, dragon face,
        see-no-evil monkey, hear-no-evil monkey, speak-no-evil monkey"""),
    "mammal": (
        "animal-mammal",
        """monkey face, dog face, wolf, fox, raccoon, lion, tiger face, horse face, moose, unicorn, cow face,
        pig face, boar, mouse face, hamster, rabbit face, bear, polar bear, koala, panda, cat face, pig nose,
        paw prints""", ""),
    "bird": ("animal-bird", "feather, wing", ""),
    "sea animal": ("animal-marine", "spiral shell, coral", "crab, lobster, shrimp, squid"),
    "bug": ("animal-bug", "spider web, microbe, worm", ""),
    "flower": ("plant-flower", "rosette, wilted flower", ""),
    "plant": ("plant-other", "empty nest, nest with eggs, mushroom", "Christmas tree, tanabata tree, pine decoration"),
    "fruit": ("food-fruit", "", ""),
    "vegetable": ("food-vegetable", "peanuts, beans", "mushroom, roasted sweet potato"),
    "meal": (
        "food-prepared food-asian", "salt, roasted sweet potato, butter, egg, fortune cookie, moon cake, dango, fish cake with swirl", ""),
    "sweet": ("food-sweet", "honey pot", "dango, moon cake, fortune cookie"),
    "drink": ("drink", "baby bottle, pouring liquid, ice", ""),
    "car": (
        "", "",
        """bus, oncoming bus, trolleybus, minibus, ambulance, fire engine, police car, oncoming police car, taxi,
        oncoming taxi, automobile, oncoming automobile, sport utility vehicle, pickup truck, delivery truck,
        articulated lorry, tractor, racing car, auto rickshaw"""),
    "train": (
        "", "",
        """locomotive, railway car, high-speed train, bullet train, train, metro, light rail, station, tram, monorail,
        mountain railway, tram car"""),
    "boat": ("transport-water", "anchor, ring buoy", ""),
    "aircraft": ("", "", "airplane, small airplane, airplane departure, airplane arrival, helicopter, rocket, flying saucer"),
    "building": (
        "place-building place-religious", "building construction, brick, rock, wood, stadium, Statue of Liberty, kaaba", ""),
    "clock": (
        "time", "hourglass done, hourglass not done", ""),
    "sky": (
        "sky & weather",
        """thermometer, closed umbrella, umbrella, umbrella with rain drops, umbrella on ground, snowman,
        snowman without snow, fire, droplet, water wave, milky way, cyclone, foggy, fog, wind face, tornado,
        snowflake, comet, high voltage, shooting star""", ""),
    "heart": ("heart", "heart exclamation, love letter, heart decoration", ""),
    "ball": (
        "", "",
        """soccer ball, baseball, softball, basketball, volleyball, american football, rugby football, tennis,
        bowling, pool 8 ball, yo-yo"""),
    "instrument": ("musical-instrument", "", ""),
    "tool": (
        "", "",
        """hammer, axe, pick, hammer and pick, hammer and wrench, dagger, crossed swords, carpentry saw, wrench,
        screwdriver, kitchen knife, scissors, broom, plunger, paintbrush, ladder"""),
    "shoe": (
        "", "",
        """thong sandal, man’s shoe, running shoe, hiking boot, flat shoe, high-heeled shoe, woman’s sandal,
        ballet shoes, woman’s boot, ice skate, roller skate"""),
    "clothing": (
        "", "",
        """lab coat, safety vest, t-shirt, jeans, scarf, gloves, coat, socks, dress, kimono, sari,
        one-piece swimsuit, briefs, shorts, bikini, woman’s clothes, martial arts uniform, running shirt,
        woman’s hat, top hat, graduation cap, billed cap, military helmet, rescue worker’s helmet, crown"""),
    "flag": ("country-flag subdivision-flag", "", "rainbow flag"),
}

# Flags look alike and are many; so many code points are kept, evenly through the alphabet.
FLAG_LIMIT = 90

# Signs, letters and arrows in boxes, and families of silhouettes: hundreds of pictures that teach a
# tokenizer little that is not in the others.
LEFT_OUT = set(
    "skin-tone hair-style transport-sign arrow zodiac av-symbol gender math punctuation currency keycap alphanum "
    "geometric family".split())


def class_of():
    """A function from (subgroup, name) to a class, or to None."""
    by_subgroup, by_name, without = {}, {}, {}
    for label, (subgroups, less, more) in CLASSES.items():
        for subgroup in split_subgroups(subgroups):
            by_subgroup[subgroup] = label
        without[label] = set(names(less))
        for name in names(more):
            by_name[name] = label
    by_name.pop("", None)

    def find(subgroup, name):
        if name in by_name:
            return by_name[name]
        label = by_subgroup.get(subgroup)
        return None if label is None or name in without[label] else label

    return find


def split_subgroups(text):
    """Subgroups have no spaces but for one."""
    if text == "sky & weather":
        return [text]
    return text.split()
