"""Write train.csv and test.csv: what customers of a bicycle workshop might say, and how they felt.

``python data/write.py`` gives the same files every time. No opinion of the training set is in the
test set, so that remembering phrases is not enough.
"""

import csv
import random
from pathlib import Path

SIZES = {"train": 320, "test": 120}

OPENERS = [
    "I brought my old touring bike in on Monday.",
    "My daughter's first bicycle needed new brakes.",
    "Third visit to this workshop.",
    "I came in with a flat tyre on the way to work.",
    "They had my cargo bike for two days.",
    "Had the gears set before a long trip.",
    "I asked for a full service in spring.",
    "A friend sent me here for a new chain.",
    "My wheel was bent after a fall.",
    "Booked the repair by telephone.",
]

OPINIONS = {
    ("train", 1): [
        "The brakes have never felt this good",
        "The mechanic explained every step and charged less than he had said",
        "It was ready a day early and rides like new",
        "They found a loose spoke that I had missed and fixed it for free",
        "The people are kind and know what they are doing",
        "The gears shift cleanly now, even uphill",
        "I got honest advice instead of a sales talk",
        "Careful work, fair price, and a clean bike in the end",
        "They lent me a bike so that I could still get to work",
        "I was surprised how quick and friendly they were",
        "My daughter is thrilled, and so am I",
        "Everything was done as promised",
        "They took the time to adjust the saddle for me, which helped a lot",
        "I have not had any trouble since",
    ],
    ("train", 0): [
        "The brakes squeal worse than before",
        "Nobody told me that the price had doubled",
        "It took nine days and the chain still jumps",
        "They scratched the frame and would not admit it",
        "The man at the counter was rude and in a hurry",
        "The gears slipped again on the first hill",
        "I was talked into parts that I did not need",
        "Sloppy work for a lot of money",
        "They lost my light and only shrugged",
        "I waited an hour only to be sent away",
        "My daughter was in tears when the wheel came off",
        "Nothing that was agreed on had been done",
        "The saddle wobbles and nobody cares",
        "I have had to go back twice because of it",
    ],
    ("test", 1): [
        "A wonderful job, the whole thing runs silently",
        "The bill was lower than the estimate, and the work was excellent",
        "I would trust them with any bike that I own",
        "Great service, they even pumped up the tyres of my trailer",
        "What a helpful team, I left with a smile",
        "Perfectly aligned wheels, and on time",
        "They solved in an hour what two others had failed at",
        "Very pleased, it has been a joy to ride again",
    ],
    ("test", 0): [
        "A terrible job, it rattles at every turn",
        "The bill was far above the estimate, and the work was careless",
        "I would not trust them with a scooter",
        "Poor service, they ignored me until closing time",
        "What an arrogant team, I left angry",
        "Crooked wheels, and a week late",
        "They broke in an hour what had worked for years",
        "Very disappointed, it is worse to ride than before",
    ],
}

CLOSINGS = [
    "",
    "That is all there is to say.",
    "I live around the corner.",
    "It was a rainy week.",
    "The shop is next to the bakery.",
    "I paid by card.",
]


def main() -> None:
    """Write both files beside this one."""
    generator = random.Random(2024)
    for split, size in SIZES.items():
        with (Path(__file__).parent / f"{split}.csv").open(
            "w", newline="", encoding="utf-8"
        ) as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["text", "label"])
            for number in range(size):
                label = number % 2
                opinions = generator.sample(OPINIONS[split, label], 2)
                parts = [
                    generator.choice(OPENERS),
                    *(f"{opinion}." for opinion in opinions),
                    generator.choice(CLOSINGS),
                ]
                writer.writerow([" ".join(part for part in parts if part), label])


if __name__ == "__main__":
    main()
