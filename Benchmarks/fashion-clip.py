"""Trains a small image-text model on Fashion-MNIST pictures with captions made of class names, and saves it in the public format.

It exists to prove the path that OpenAI's weights take (config.json, model.safetensors, vocab.json, merges.txt) where those weights
cannot be had; it is named for what it is. Needs torch, transformers and Pillow, and CLIP's merges file (bpe_simple_vocab_16e6.txt.gz).

    python Benchmarks/fashion-clip.py --data FOLDER-WITH-IDX --merges bpe_simple_vocab_16e6.txt.gz --out fashion-clip
"""
import argparse
import gzip
import json
import os

import numpy as np
import torch
from PIL import Image
from transformers import CLIPConfig, CLIPModel

NAMES = ["t-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"]
TEMPLATES = ["a photo of a {}", "a picture of a {}", "a grey photo of a {}", "a {}"]
MEAN, DEVIATION = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]


def idx(path: str) -> np.ndarray:
    raw = gzip.open(path + ".gz").read() if os.path.exists(path + ".gz") else open(path, "rb").read()
    rank = raw[3]
    shape = [int.from_bytes(raw[4 + 4 * i:8 + 4 * i], "big") for i in range(rank)]
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(shape)


def vocabulary(merges_gz: str, out: str) -> None:
    """vocab.json and merges.txt as hubs lay them out, from the file of OpenAI's repository."""
    lines = gzip.open(merges_gz, "rt", encoding="utf-8").read().split("\n")
    merges = lines[1:49152 - 256 - 2 + 1]
    printable = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    chars, extra = printable[:], 0
    for b in range(256):
        if b not in printable:
            chars.append(256 + extra)
            extra += 1
    alphabet = [chr(c) for c in chars]
    tokens = alphabet + [c + "</w>" for c in alphabet] + ["".join(m.split()) for m in merges] + ["<|startoftext|>", "<|endoftext|>"]
    json.dump({t: i for i, t in enumerate(tokens)}, open(f"{out}/vocab.json", "w"))
    open(f"{out}/merges.txt", "w").write("#version: 0.2\n" + "\n".join(merges) + "\n")


def pixels(images: np.ndarray, size: int) -> torch.Tensor:
    grown = np.stack([np.asarray(Image.fromarray(i).resize((size, size), Image.BICUBIC)) for i in images]).astype("f4") / 255
    return torch.tensor((grown[:, None] - np.array(MEAN, "f4")[None, :, None, None]) / np.array(DEVIATION, "f4")[None, :, None, None])


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", required=True)
    p.add_argument("--merges", required=True)
    p.add_argument("--out", required=True)
    p.add_argument("--images", type=int, default=20000)
    p.add_argument("--epochs", type=int, default=2)
    a = p.parse_args()
    torch.manual_seed(1)
    torch.set_num_threads(1)
    os.makedirs(a.out, exist_ok=True)
    vocabulary(a.merges, a.out)
    from transformers import CLIPTokenizer
    tokenizer = CLIPTokenizer(f"{a.out}/vocab.json", f"{a.out}/merges.txt")
    shape = dict(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4)
    config = CLIPConfig(
        vision_config=dict(**shape, image_size=32, patch_size=8), text_config=dict(**shape, vocab_size=49408, max_position_embeddings=16, eos_token_id=49407, bos_token_id=49406),
        projection_dim=64)
    model = CLIPModel(config)
    images, labels = idx(f"{a.data}/train-images-idx3-ubyte")[:a.images], idx(f"{a.data}/train-labels-idx1-ubyte")[:a.images]
    x, y = pixels(images, 32), torch.tensor(labels.astype("i8"))
    captions = [tokenizer([t.format(n) for n in NAMES], padding=True, return_tensors="pt") for t in TEMPLATES]
    steps = a.epochs * (len(x) // 128)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for step in range(steps):
        if step % (len(x) // 128) == 0:
            order = torch.randperm(len(x))
        at = step % (len(x) // 128)
        batch = order[at * 128:(at + 1) * 128]
        caption = captions[step % len(captions)]
        # One caption a class: all pictures of a class are right for it.
        out = model(input_ids=caption["input_ids"], attention_mask=caption["attention_mask"], pixel_values=x[batch])
        loss = torch.nn.functional.cross_entropy(out.logits_per_image, y[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 50 == 0:
            print(step, round(loss.item(), 3), flush=True)
    model.save_pretrained(a.out, safe_serialization=True)
    model.eval()
    test, gold = pixels(idx(f"{a.data}/t10k-images-idx3-ubyte")[:2000], 32), idx(f"{a.data}/t10k-labels-idx1-ubyte")[:2000]
    with torch.no_grad():
        caption = captions[0]
        logits = model(input_ids=caption["input_ids"], attention_mask=caption["attention_mask"], pixel_values=test).logits_per_image
    print("zero-shot accuracy on 2,000 test pictures:", (logits.argmax(1).numpy() == gold).mean())


if __name__ == "__main__":
    main()
