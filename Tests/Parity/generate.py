"""Golden tensors for Tests/ModelsTests/Networks: what the reference implementations compute on small seeded networks.

    python generate.py [--vocabularies FOLDER]     (writes golden/; needs requirements.txt)

Weights and inputs are not stored: both sides compute them from their names with `fill`, so a golden file holds outputs
only and stays small. FOLDER holds the public CLIP merge list and BERT vocabulary (tokenizer goldens are made only with it).
Made with torch 2.13.0+cpu, transformers 5.23.0, sentencepiece 0.2.3, keras 3.15.1; `versions` in each file says what was used.
"""
import argparse
import gzip
import json
import os
import tempfile

import numpy as np
import torch
import transformers
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDEN = os.path.join(HERE, "golden")


def uniform(name, count):
    """Numbers in [-1, 1) by SplitMix64 from the FNV-1a hash of the name; Golden.swift computes the same."""
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = ((h ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    with np.errstate(over="ignore"):
        z = np.uint64(h) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return ((z >> np.uint64(40)).astype(np.float64) / 2**23 - 1).astype(np.float32)


def fill(name, shape):
    """A weight: norms near 1, variances positive, matrices scaled by their fan-in."""
    u = uniform(name, int(np.prod(shape))).reshape(shape)
    if name.endswith("running_var"):
        u = 1 + np.float32(0.5) * u
    elif len(shape) == 1:
        u = 1 + np.float32(0.3) * u if name.endswith("weight") else np.float32(0.3) * u
    else:
        u = u * np.float32(np.sqrt(3 / np.prod(shape[1:])))
        if name in ("shared.weight", "lm_head.weight"):
            u[1] *= 3  # the end token, so that a random T5 stops sometimes
    return torch.from_numpy(np.ascontiguousarray(u, dtype=np.float32)).reshape(shape)


def load(model, rename=lambda name: name):
    """Fills every parameter and running statistic; returns the names."""
    names = []
    with torch.no_grad():
        for name, tensor in list(model.named_parameters()) + list(model.named_buffers()):
            if tensor.dtype == torch.float32:
                tensor.copy_(fill(rename(name), tuple(tensor.shape)))
                names.append(rename(name))
    return names


def save(name, tensors, names=()):
    meta = {"names": json.dumps(sorted(names)), "versions": f"torch {torch.__version__}, transformers {transformers.__version__}"}
    save_file({k: v.detach().contiguous().float() for k, v in tensors.items()}, os.path.join(GOLDEN, name + ".safetensors"), meta)


def nhwc(x):
    return x.permute(0, 2, 3, 1)


def image(name, n, size, channels=3):
    """NHWC on our side; NCHW for torch."""
    return fill(name, (n, size, size, channels)).permute(0, 3, 1, 2) * float(np.sqrt(size * size * channels / 3))


def clip():
    from transformers import CLIPConfig, CLIPModel
    config = CLIPConfig(
        vision_config=dict(hidden_size=48, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4, image_size=32, patch_size=8),
        text_config=dict(hidden_size=40, intermediate_size=80, num_hidden_layers=3, num_attention_heads=4, vocab_size=99, max_position_embeddings=16,
                         eos_token_id=98, bos_token_id=97, pad_token_id=98), projection_dim=24)
    model = CLIPModel(config).eval()
    names = load(model)
    x = image("input.images", 2, 32)
    ids = torch.tensor([[97, 5, 17, 3, 98, 98, 98], [97, 1, 2, 3, 4, 50, 98]])
    with torch.no_grad():
        v = model.vision_model(pixel_values=x, output_hidden_states=True)
        t = model.text_model(input_ids=ids, output_hidden_states=True)
        out = {f"vision.{i}": h for i, h in enumerate(v.hidden_states)} | {f"text.{i}": h for i, h in enumerate(t.hidden_states)}
        out["image_embeds"] = model.visual_projection(v.pooler_output)
        out["text_embeds"] = model.text_projection(t.pooler_output)
    save("clip", out, names)


def resnet():
    from transformers import ResNetConfig, ResNetForImageClassification
    for kind in ("bottleneck", "basic"):
        config = ResNetConfig(embedding_size=8, hidden_sizes=[16, 32], depths=[2, 2], layer_type=kind, num_labels=5)
        model = ResNetForImageClassification(config).eval()
        names = load(model)
        x = image("input.images", 2, 32)
        with torch.no_grad():
            r = model.resnet(x, output_hidden_states=True)
            out = {f"stage.{i}": nhwc(h) for i, h in enumerate(r.hidden_states)}
            out["features"] = r.pooler_output.flatten(1)
            out["logits"] = model(x).logits
        model.train()
        loss = torch.nn.functional.cross_entropy(model(x).logits, torch.tensor([1, 4]), reduction="sum")
        loss.backward()
        parameters = dict(model.named_parameters())
        out["train.loss"] = loss.reshape(1)
        for name in ("resnet.embedder.embedder.convolution.weight", "resnet.encoder.stages.1.layers.0.shortcut.convolution.weight",
                     "resnet.encoder.stages.0.layers.0.layer.1.normalization.weight", "classifier.1.weight"):
            out["gradient." + name] = parameters[name].grad
        out["running_mean"] = model.resnet.embedder.embedder.normalization.running_mean
        out["running_var"] = model.resnet.embedder.embedder.normalization.running_var
        save("resnet-" + kind, out, names)
    # The same network under torchvision's names: weights follow the names, so the numbers are others.
    config = ResNetConfig(embedding_size=8, hidden_sizes=[16, 32], depths=[2, 2], layer_type="bottleneck", num_labels=5)
    model = ResNetForImageClassification(config).eval()

    def rename(name):
        name = name.replace("resnet.embedder.embedder.convolution", "conv1").replace("resnet.embedder.embedder.normalization", "bn1")
        name = name.replace("classifier.1", "fc")
        if name.startswith("resnet.encoder"):
            part = name.split(".")
            head = f"layer{int(part[3]) + 1}.{part[5]}"
            if part[6] == "shortcut":
                return f"{head}.downsample.{0 if part[7] == 'convolution' else 1}.{part[8]}"
            return f"{head}.{'conv' if part[8] == 'convolution' else 'bn'}{int(part[7]) + 1}.{part[9]}"
        return name
    names = load(model, rename)
    with torch.no_grad():
        save("resnet-torchvision", {"logits": model(image("input.images", 2, 32)).logits}, names)


def bert():
    from transformers import BertConfig, BertModel
    config = BertConfig(vocab_size=120, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=64, max_position_embeddings=16)
    model = BertModel(config).eval()
    names = load(model)
    ids = torch.tensor([[2, 17, 33, 100, 4, 9, 3], [2, 99, 41, 3, 0, 0, 0]])
    mask = torch.tensor([[1] * 7, [1] * 4 + [0] * 3])
    r = model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
    out = {}
    for i, h in enumerate(r.hidden_states):
        # What stands at padding is nobody's business: both sides set it to zero.
        out[f"hidden.{i}"] = h * mask[..., None]
    out["pooled"] = r.pooler_output
    out["mean"] = (r.last_hidden_state * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    loss = torch.nn.functional.cross_entropy(r.pooler_output[:, :5], torch.tensor([1, 4]), reduction="sum")
    loss.backward()
    parameters = dict(model.named_parameters())
    out["loss"] = loss.reshape(1)
    for name in ("embeddings.word_embeddings.weight", "embeddings.position_embeddings.weight", "embeddings.LayerNorm.weight",
                 "encoder.layer.0.attention.self.query.weight", "encoder.layer.1.intermediate.dense.bias", "pooler.dense.weight"):
        out["gradient." + name] = parameters[name].grad
    save("bert", out, names)


def t5():
    from transformers import T5Config, T5ForConditionalGeneration
    rng = np.random.default_rng(1)
    for kind, tied in (("relu", True), ("gated-gelu", False)):
        config = T5Config(vocab_size=60, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, feed_forward_proj=kind, tie_word_embeddings=tied,
                          decoder_start_token_id=0, relative_attention_num_buckets=8, relative_attention_max_distance=12)
        model = T5ForConditionalGeneration(config).eval()
        if not tied:
            # T5 1.1's checkpoints have a head of their own, which transformers 5 ties unless it is put in.
            model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
        names = load(model)
        texts = [[7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 1], [5, 40, 33, 1]]
        length = max(map(len, texts))
        ids = torch.tensor([t + [0] * (length - len(t)) for t in texts])
        mask = torch.tensor([[1] * len(t) + [0] * (length - len(t)) for t in texts])
        with torch.no_grad():
            enc = model.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
            decoder = torch.tensor([[0, 3, 14, 15, 9, 26, 5], [0, 44, 2, 2, 50, 1, 7]])
            out = {"encoded": enc * mask[..., None], "logits": model(input_ids=ids, attention_mask=mask, decoder_input_ids=decoder).logits}
            # Generation: texts until eight end by themselves or sixty were tried; random networks rarely stop.
            kept, open_ended = [], []
            for _ in range(60):
                text = rng.integers(2, 60, rng.integers(2, 12)).tolist() + [1]
                x = torch.tensor([text])
                g = model.generate(x, max_new_tokens=12, do_sample=False, num_beams=1)[0, 1:].tolist()
                b = model.generate(x, max_new_tokens=12, do_sample=False, num_beams=4, early_stopping=False)[0, 1:].tolist()
                row = {"text": text, "greedy": g, "beam": b}
                (kept if 1 in g or 1 in b else open_ended).append(row)
                if len(kept) == 8:
                    break
        save("t5-" + kind, out, names)
        with open(os.path.join(GOLDEN, f"t5-{kind}.json"), "w") as f:
            json.dump(kept + open_ended[:4], f, separators=(",", ":"))
        print("t5", kind, "ends", len(kept), "open", len(open_ended))


def vae():
    from torch import nn
    import torch.nn.functional as F

    class Dense(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.ModuleList([nn.Linear(36, 20), nn.Linear(20, 12)])
            self.mean, self.log_variance = nn.Linear(12, 6), nn.Linear(12, 6)
            self.decoder = nn.ModuleList([nn.Linear(6, 12), nn.Linear(12, 20), nn.Linear(20, 36)])

        def encode(self, x):
            h = x.flatten(1)
            for layer in self.encoder:
                h = F.relu(layer(h))
            return self.mean(h), self.log_variance(h)

        def decode(self, z):
            for layer in self.decoder[:-1]:
                z = F.relu(layer(z))
            return self.decoder[-1](z)

    class Conv(nn.Module):
        """Features are flattened channels last, as ours are."""
        def __init__(self):
            super().__init__()
            self.encoder = nn.ModuleList([nn.Conv2d(2, 6, 4, 2, 1), nn.Conv2d(6, 8, 4, 2, 1), nn.Linear(32, 10)])
            self.mean, self.log_variance = nn.Linear(10, 6), nn.Linear(10, 6)
            self.decoder = nn.ModuleList([nn.Linear(6, 10), nn.Linear(10, 32), nn.ConvTranspose2d(8, 6, 4, 2, 1), nn.ConvTranspose2d(6, 2, 4, 2, 1)])

        def encode(self, x):
            h = F.relu(self.encoder[1](F.relu(self.encoder[0](x))))
            h = F.relu(self.encoder[2](nhwc(h).flatten(1)))
            return self.mean(h), self.log_variance(h)

        def decode(self, z):
            h = F.relu(self.decoder[1](F.relu(self.decoder[0](z))))
            h = h.view(-1, 2, 2, 8).permute(0, 3, 1, 2)
            return nhwc(self.decoder[3](F.relu(self.decoder[2](h)))).flatten(1)
    for kind, model, x in (("dense", Dense(), image("input.images", 3, 6, 1)), ("convolutional", Conv(), image("input.images", 3, 8, 2))):
        x = (x + 1) / 2
        names = load(model)
        mean, log_variance = model.encode(x)
        logits = model.decode(fill("input.z", (3, 6)))
        target = nhwc(x).flatten(1)
        reconstruction = F.binary_cross_entropy_with_logits(logits, target, reduction="none").sum(1)
        divergence = -0.5 * (1 + log_variance - mean * mean - log_variance.exp()).sum(1)
        (reconstruction.sum() + 0.5 * divergence.sum()).backward()
        out = {"mean": mean, "log_variance": log_variance, "logits": logits, "reconstruction": reconstruction, "divergence": divergence}
        out |= {"gradient." + n: p.grad for n, p in model.named_parameters()}
        save("vae-" + kind, out, names)


def preprocessing():
    """CLIP's resize and crop of odd sizes, by Pillow; in the last one it resizes columns before rows."""
    from PIL import Image
    from transformers import CLIPImageProcessor
    out = {}
    for i, (height, width) in enumerate(((23, 38), (41, 25), (16, 16), (9, 12), (70, 30))):
        pixels = np.floor((uniform(f"input.pixels{i}", height * width * 3) + 1) * 128).astype(np.uint8).reshape(height, width, 3)
        processor = CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}, resample=3)
        x = processor(images=[Image.fromarray(pixels)], return_tensors="pt")["pixel_values"]
        out[f"clip.{i}"] = nhwc(x)
    save("preprocessing", out)


def adam():
    p = fill("adam.p", (40,)).requires_grad_()
    optimizer = torch.optim.Adam([p], lr=1e-2)
    for step in range(3):
        p.grad = fill(f"adam.g{step}", (40,)) * 10.0 ** -(torch.arange(40) % 9)
        optimizer.step()
    save("adam", {"p": p})
    # TensorFlow's form, by Keras, which computes it alike on every backend.
    os.environ["KERAS_BACKEND"] = "torch"
    import keras
    v = keras.Variable(fill("adam.p", (40,)).numpy())
    optimizer = keras.optimizers.Adam(learning_rate=1e-2)
    optimizer.build([v])
    for step in range(3):
        optimizer.apply([fill(f"adam.g{step}", (40,)) * 10.0 ** -(torch.arange(40) % 9)])
    save("adam-tensorflow", {"p": v.value})


TEXTS = [
    "transfer 100 dollars from checking to savings", "what's the weather in Paris?", "I'll don't we're THEY'VE", "", "   blanks   and\ttabs\n",
    "a photo of a cat, 3 dogs & 12 birds!", "naïve café résumé Überweisung", "emoji 😀 and 漢字 kanji かな", "x" * 120, "semi-detached; e-mail: a@b.co",
    "1234567890 3.14159 1,000", "pneumothorax with cardiomegaly", "ﬁne ½ cup №5 — “quoted” …", "Ελληνικά русский العربية हिन्दी", "#hashtag __init__ $5.00 100%",
]


def tokenizers(folder):
    import sentencepiece
    from transformers import BertTokenizer, CLIPTokenizer
    out = {"texts": TEXTS}
    if folder:
        with tempfile.TemporaryDirectory() as d:
            lines = gzip.open(os.path.join(folder, "clip_bpe_simple_vocab_16e6.txt.gz"), "rt", encoding="utf-8").read().split("\n")
            merges = lines[1:49152 - 256 - 2 + 1]
            # GPT-2's table: visible Latin-1 bytes stand for themselves, the others for characters from U+0100 on.
            visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
            vocabulary = [chr(b) for b in visible] + [chr(256 + i) for i in range(256 - len(visible))]
            vocabulary += [v + "</w>" for v in vocabulary]
            vocabulary += ["".join(m.split()) for m in merges] + ["<|startoftext|>", "<|endoftext|>"]
            json.dump({v: i for i, v in enumerate(vocabulary)}, open(os.path.join(d, "vocab.json"), "w"))
            open(os.path.join(d, "merges.txt"), "w", encoding="utf-8").write("#version: 0.2\n" + "\n".join(merges) + "\n")
            clip = CLIPTokenizer(vocab=os.path.join(d, "vocab.json"), merges=os.path.join(d, "merges.txt"))
            out["clip"] = [clip(t, truncation=True, max_length=77)["input_ids"] for t in TEXTS]
            words = gzip.open(os.path.join(folder, "bert_uncased_vocab.txt.gz"), "rt", encoding="utf-8").read()
            open(os.path.join(d, "vocab.txt"), "w", encoding="utf-8").write(words)
            bert = BertTokenizer(vocab=os.path.join(d, "vocab.txt"), do_lower_case=True)
            out["bert"] = [bert(t, truncation=True, max_length=64)["input_ids"] for t in TEXTS]
    model = os.path.join(GOLDEN, "spiece")
    corpus = [l.strip() for l in open(__file__, encoding="utf-8") if l.strip()] + TEXTS
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus), model_prefix=model, vocab_size=300, model_type="unigram", pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
        character_coverage=0.99, hard_vocab_limit=False, minloglevel=2, add_dummy_prefix=True, normalization_rule_name="nmt_nfkc")
    os.remove(model + ".vocab")
    processor = sentencepiece.SentencePieceProcessor(model_file=model + ".model")
    out["unigram"] = [processor.encode(t) + [1] for t in TEXTS]
    out["decoded"] = [processor.decode(processor.encode(t)) for t in TEXTS]
    # The normaliser's table would be nine tenths of the file; our reader normalises by itself.
    from sentencepiece import sentencepiece_model_pb2
    message = sentencepiece_model_pb2.ModelProto()
    message.ParseFromString(open(model + ".model", "rb").read())
    message.normalizer_spec.precompiled_charsmap = b""
    open(model + ".model", "wb").write(message.SerializeToString())
    json.dump(out, open(os.path.join(GOLDEN, "tokenizers.json"), "w"), ensure_ascii=False, separators=(",", ":"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocabularies", help="folder with clip_bpe_simple_vocab_16e6.txt.gz and bert_uncased_vocab.txt.gz")
    parser.add_argument("--only", default="clip,resnet,bert,t5,vae,adam,preprocessing")
    arguments = parser.parse_args()
    os.makedirs(GOLDEN, exist_ok=True)
    torch.set_num_threads(1)
    for make in [globals()[name] for name in arguments.only.split(",") if name]:
        make()
    tokenizers(arguments.vocabularies)
