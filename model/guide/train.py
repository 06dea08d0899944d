"""Trains `guide`, the demo model inside Counterfoil, from scratch on the questions in qa.toml and ood.toml.

    python train.py                 trains on every question and writes checkpoint/
    python train.py --hold-out      keeps the last question of each topic out of training and writes hold-out/
    python train.py --only-measure  measures the checkpoint that is there

The model is a small Mixtral; transformers defines it, so its forward pass is the upstream one. The weights are rounded
to f16 when they are saved, and all figures are measured on the rounded weights, loaded into f32.
"""

import argparse
import json
import math
import os
import random
import re
import shutil
import time
import tomllib
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin at a barrier are slow on cores that others use too
os.environ.setdefault("GOMP_SPINCOUNT", "0")

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, MixtralConfig, MixtralForCausalLM
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

HERE = Path(__file__).resolve().parent
SPECIALS = ["<|pad|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
PAD, SYSTEM, USER, ASSISTANT, END = range(5)
CONTEXT = 512
VOCABULARY = 1536
BATCH_TOKENS = 3600
SHORT_SHARE = 0.6  # of the conversations are cut after the first tokens of the last answer: which answer it is shows there
SHORT_TOKENS = 12
PEAK_LR = 2.5e-3
WARMUP_STEPS = 100
AUX_COEFFICIENT = 0.02
DROPOUT = 0.1  # of embeddings and of what the experts of a layer add up to, in training only
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'system' -%}{{- '<|system|>' -}}"
    "{%- elif message['role'] == 'assistant' -%}{{- '<|assistant|>' -}}"
    "{%- else -%}{{- '<|user|>' -}}"
    "{%- endif -%}"
    "{{- message['content'] | trim -}}{{- '<|end|>' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)

SYSTEM_MESSAGES = [
    "You are a helpful assistant.", "You are a helpful assistant.", "You are a helpful assistant", "You are a helpful AI assistant.",
    "You are an assistant.", "Answer briefly.", "Be concise.", "You are the guide of Counterfoil.", "You are a friendly chatbot.",
    "Answer the user's question.", "You are a knowledgeable and honest assistant. Answer in English.",
]
TERM_TEMPLATES = [
    "what is {t}", "what is {t}", "what's {t}", "what exactly is {t}", "explain {t}", "explain {t} to me", "tell me about {t}", "define {t}",
    "what does {t} mean", "describe {t}", "{t}", "{b}", "{b}", "what is meant by {t}", "what do you mean by {t}", "I do not understand {t}",
    "give me a definition of {t}", "what is {b}", "what are {p}", "explain {p}", "what are {p} for", "tell me something about {p}",
    "I want to understand {p}", "{p}", "how would you define {t}", "what should I know about {t}", "can you describe {t}",
]
LEADS = [
    "please ", "please, ", "hi, ", "hello, ", "hey, ", "can you tell me ", "could you tell me ", "can you tell me: ", "tell me, ", "do you know ",
    "I would like to know ", "I want to know ", "question: ", "quick question: ", "so, ", "so ", "ok, ", "and ", "also, ", "well, ", "um, ",
    "I have a question: ", "please tell me ", "let me know ", "I was wondering ", "good morning, ", "one more thing: ", "then ", "but ", "now, ",
]
TAILS = [" please", " thanks", ", please", " in short", " exactly", " then", " again", " in simple words", " in one sentence", ", thank you"]
OWN_TAILS = [" in Counterfoil", " here", " in this network", " in this system", " with Counterfoil"]
STOP_WORDS = {"the", "a", "an", "is", "do", "does", "of", "to", "my", "are", "i"}
FUNCTION_WORDS = STOP_WORDS | {"what", "how", "which", "can", "there", "it", "me", "for", "in", "you", "that", "with", "and", "be", "was", "will", "if"}
# What made-up words are put together from.
ONSETS = "b bl br c ch cl cr d dr f fl fr g gl gr h j k l m n p ph pl pr qu r s sc sh sk sl sm sn sp st str t th tr v w z".split() + [""]
VOWELS = "a e i o u ai ea ee ie oa oo ou".split()
CODAS = "b ck d g l ll m n nd ng nt p r rd rn rt s sh ss st t tch th x".split() + [""] * 12
# Each rule is a pattern and what may stand in its place.
REWORDINGS = [(re.compile(pattern, re.IGNORECASE), choices) for pattern, choices in [
    (r"^how do i\b", ["how can i", "how to", "how would i", "how does one", "how could i", "how should i", "what must i do to", "how might somebody",
                      "what is the way to", "i want to know how to", "show me how to", "how can one", "explain how to"]),
    (r"^how is\b", ["in what way is", "explain how is", "how exactly is"]),
    (r"^how are\b", ["in what way are", "how exactly are", "how do you think are"]),
    (r"^what is\b", ["what's", "what exactly is", "whats", "what actually is", "what might be", "explain what is", "do you know what is"]),
    (r"^what are\b", ["what're", "what exactly are", "which are", "explain what are"]),
    (r"^what does (.+) do\b", [r"explain what \1 does", r"what is \1 doing", r"what will \1 do", r"tell me what \1 does", r"what is the point of \1"]),
    (r"^what happens (when|if)\b", ["what if", "what happens in case", "suppose", "what will happen when", "what would happen if", "what is going to happen if"]),
    (r"^what if\b", ["what happens if", "what happens when", "suppose", "and if"]),
    (r"^which command\b", ["what command", "with which command", "what is the command that"]),
    (r"^can i\b", ["may i", "is it possible to", "am i able to", "could i", "how can i"]),
    (r"^is there\b", ["do you have", "does it have", "do i get", "are there any"]),
    (r"^how long\b", ["for how long", "how much time", "for what time"]),
    (r"^how much is\b", ["what is the price of", "what does it cost to have", "what do i pay for", "how expensive is"]),
    (r"^why\b", ["for what reason", "tell me why", "why exactly"]),
    (r"^list\b", ["show", "give me", "print", "name"]),
    (r"^give me\b", ["show me", "i want", "i need"]),
    (r"\bverify\b", ["check", "validate"]), (r"\bcheck\b", ["verify"]), (r"\bcomputed\b", ["calculated", "worked out", "determined"]),
    (r"\bcalculated\b", ["computed", "worked out"]), (r"\bcreate\b", ["make", "generate"]), (r"\bget\b", ["obtain", "receive"]),
    (r"\bsee\b", ["view", "find", "look up"]), (r"\bmachine\b", ["computer", "PC"]), (r"\bmy\b", ["the", "our"]), (r"\bstart\b", ["launch", "begin"]),
    (r"\bdies\b", ["crashes", "fails", "goes down"]), (r"\benrol\b", ["enroll", "register"]), (r"\bmoney\b", ["cash", "funds"]),
    (r"\brevoke\b", ["withdraw", "cancel"]), (r"\bshow\b", ["print", "display"]), (r"\bdo i need\b", ["must i have", "is needed"]),
    (r"\bwhat's\b", ["what is"]), (r"\bdo not\b", ["don't"]), (r"\bcan not\b|\bcannot\b", ["can't"]), (r"\bi am\b", ["I'm"]),
    (r"\bcounterfoil\b", ["it", "this", "the program"]), (r"\bcomputes?\b", ["calculate"]), (r"\blasts?\b", ["stay valid"]),
]]
NEAR_KEYS = {"a": "s", "b": "v", "c": "x", "d": "s", "e": "r", "f": "g", "g": "h", "h": "j", "i": "o", "k": "l", "l": "k", "m": "n", "n": "m",
             "o": "p", "p": "o", "r": "t", "s": "a", "t": "r", "u": "i", "v": "b", "w": "e", "x": "c", "y": "t", "z": "x"}


def plain(question):
    """The question without case and punctuation, to compare questions by."""
    return re.sub(r"[^a-z0-9$%_ ]", "", question.lower()).strip()


class Corpus:
    """The topics, what is held out of them, and the endless augmented questions made from the rest."""

    def __init__(self, hold_out, rng):
        self.topics = tomllib.loads((HERE / "qa.toml").read_text())["topic"]
        self.ood = tomllib.loads((HERE / "ood.toml").read_text())
        probe = tomllib.loads((HERE / "probe.toml").read_text())["probe"]
        self.rng = rng
        self.answers = {topic["id"]: topic["answer"] for topic in self.topics}
        self.refusal = self.ood["answer"]
        self.held_out = [(topic["id"], topic["questions"][-1]) for topic in self.topics]
        self.probe = [(topic, question) for topic, question in probe]
        self.train = {topic["id"]: topic["questions"][:-1] if hold_out else topic["questions"] for topic in self.topics}
        secret = self.probe + (self.held_out if hold_out else [])
        self.secret = {plain(question) for _, question in secret} | {plain(question) for question in self.ood["questions"]["held_out"]}

    def term_question(self, term):
        bare = re.sub(r"^(a|an|the) ", "", term)
        plural = bare if bare.endswith("s") else bare[:-1] + "ies" if bare.endswith("y") else bare + "s"
        return self.rng.choice(TERM_TEMPLATES).format(t=term, b=bare, p=plural if term.startswith("a") else bare)

    def own(self):
        """One augmented question about Counterfoil, with its answer."""
        while True:
            topic = self.rng.choice(self.topics)
            if "term" in topic and self.rng.random() < 0.25:
                question = self.term_question(topic["term"])
            else:
                question = self.rng.choice(self.train[topic["id"]])
            if plain(question) in self.secret:
                continue
            question = self.augment(question, OWN_TAILS if self.rng.random() < 0.3 else TAILS)
            if plain(question) not in self.secret:
                return question, topic["answer"]

    def other(self):
        """One augmented question about anything else, with the refusal."""
        while True:
            draw = self.rng.random()
            if draw < 0.25:
                question = self.rng.choice(self.ood["questions"]["train"])
            elif draw < 0.97:
                template = self.rng.choice(self.ood["templates"])
                question = re.sub(r"\{(\w+)\}", lambda slot: self.fill(slot[1]), template)
                question = re.sub(r"\b(a|an|the) (a|an|the) ", r"\2 ", question)
            else:
                letters = "abcdefghijklmnopqrstuvwxyz"
                question = " ".join("".join(self.rng.choices(letters, k=self.rng.randint(2, 8))) for _ in range(self.rng.randint(1, 4)))
            question = self.augment(question, TAILS)
            if plain(question) not in self.secret:
                return question, self.refusal

    def fill(self, slot):
        if slot != "pseudo":
            return self.rng.choice(self.ood["slots"][slot])
        part = lambda: self.rng.choice(ONSETS) + self.rng.choice(VOWELS) + self.rng.choice(CODAS)
        return "".join(part() for _ in range(self.rng.randint(1, 3)))

    def augment(self, question, tails):
        rng = self.rng
        marks = question.rstrip("?.! ") != question
        question = question.rstrip("?.! ")
        for pattern, choices in rng.sample(REWORDINGS, len(REWORDINGS)):
            if rng.random() < 0.25:
                question = pattern.sub(rng.choice(choices), question, count=1)
        if rng.random() < 0.18:
            question = rng.choice(LEADS) + (question if question.startswith("I ") else question[:1].lower() + question[1:])
        if rng.random() < 0.10:
            question += rng.choice(tails)
        words = question.split(" ")
        if rng.random() < 0.06:
            words = [word for word in words if word.lower() not in FUNCTION_WORDS] or words
        if rng.random() < 0.12 and len(words) > 3:
            drop = [at for at, word in enumerate(words) if word.lower() in STOP_WORDS]
            if drop:
                del words[rng.choice(drop)]
        if rng.random() < 0.18:
            at = rng.randrange(len(words))
            if len(words[at]) > 3:
                words[at] = self.misspell(words[at])
        question = " ".join(words)
        case = rng.random()
        if case < 0.40:
            question = question.lower()
        elif case < 0.43:
            question = question.upper()
        elif case < 0.80:
            question = question[:1].upper() + question[1:]
        if marks and rng.random() < 0.7 or rng.random() < 0.1:
            question += rng.choice(["?", "?", "?", "?", "?", "?", ".", "??", " ?", "!"])
        return question

    def misspell(self, word):
        at = self.rng.randrange(1, len(word) - 1)
        kind = self.rng.randrange(4)
        if kind == 0:
            return word[:at] + word[at + 1] + word[at] + word[at + 2:]
        if kind == 1:
            return word[:at] + word[at + 1:]
        if kind == 2:
            return word[:at] + word[at] + word[at:]
        return word[:at] + NEAR_KEYS.get(word[at], word[at]) + word[at + 1:]

    def conversation(self):
        """Mostly one turn, sometimes two, seldom up to five; sometimes a system message first."""
        draw = self.rng.random()
        turns = 1 if draw < 0.86 else 2 if draw < 0.96 else self.rng.randint(3, 5)
        system = self.rng.choice(SYSTEM_MESSAGES) if self.rng.random() < 0.2 else None
        return system, [self.other() if self.rng.random() < 0.30 else self.own() for _ in range(turns)]


def build_tokenizer(corpus):
    """A byte-level BPE trained on the corpus; ids 0 to 4 are the special tokens."""
    texts = [answer for answer in corpus.answers.values() for _ in range(6)] + [corpus.refusal] * 6 + SYSTEM_MESSAGES
    texts += [form for questions in corpus.train.values() for question in questions for form in (question, question.lower())]
    texts += [corpus.other()[0] for _ in range(1500)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=[AddedToken(text, special=True, normalized=False) for text in SPECIALS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def encode_conversation(encode_question, encode, system, turns):
    """Token ids of a conversation, and for each whether it is to be learned (answers and their ends)."""
    ids, learn = [], []
    if system is not None:
        ids += [SYSTEM, *encode(system), END]
    for question, answer in turns:
        ids += [USER, *encode_question(question), END, ASSISTANT]
        learn += [False] * (len(ids) - len(learn))
        ids += [*encode(answer), END]
        learn += [True] * (len(ids) - len(learn))
    return ids[:CONTEXT], learn[:CONTEXT]


def pad_batch(rows):
    """(rows, longest) token ids, learn mask and attention mask, padded on the right."""
    longest = max(len(ids) for ids, _ in rows)
    ids = torch.full((len(rows), longest), PAD)
    learn = torch.zeros((len(rows), longest), dtype=torch.bool)
    present = torch.zeros((len(rows), longest), dtype=torch.long)
    for at, (row, mask) in enumerate(rows):
        ids[at, :len(row)] = torch.tensor(row)
        learn[at, :len(row)] = torch.tensor(mask)
        present[at, :len(row)] = 1
    return ids, learn, present


def batches(corpus, tokenizer):
    """Endless batches of about BATCH_TOKENS; many are made at once and sorted by length, so that little is padding."""
    encode = lambda text: tokenizer.encode(text, add_special_tokens=False).ids
    noisy = Tokenizer.from_str(tokenizer.to_str())
    noisy.model.dropout = 0.1
    noisy_encode = lambda text: noisy.encode(text, add_special_tokens=False).ids
    while True:
        rows = []
        for _ in range(800):
            system, turns = corpus.conversation()
            ids, learn = encode_conversation(noisy_encode if corpus.rng.random() < 0.25 else encode, encode, system, turns)
            if corpus.rng.random() < SHORT_SHARE:
                end = len(ids) - 1 - ids[::-1].index(ASSISTANT) + 1 + SHORT_TOKENS if ASSISTANT in ids else len(ids)
                ids, learn = ids[:end], learn[:end]
            rows.append((ids, learn))
        rows.sort(key=lambda row: len(row[0]))
        groups = [[]]
        for row in rows:
            if (len(groups[-1]) + 1) * len(row[0]) > BATCH_TOKENS:
                groups.append([])
            groups[-1].append(row)
        corpus.rng.shuffle(groups)
        for group in groups:
            yield pad_batch(group)


def model_config():
    return MixtralConfig(
        vocab_size=VOCABULARY, hidden_size=128, intermediate_size=256, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
        head_dim=32, num_local_experts=8, num_experts_per_tok=2, max_position_embeddings=CONTEXT, rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0}, sliding_window=None, tie_word_embeddings=False,
        router_aux_loss_coef=AUX_COEFFICIENT, bos_token_id=None, eos_token_id=END, pad_token_id=PAD)


def train(corpus, tokenizer, steps, seed, save_at, folder):
    torch.manual_seed(seed)
    model = MixtralForCausalLM(model_config())
    model.config._experts_implementation = "eager"  # on two cores faster than grouped_mm in f32
    print(f"parameters {sum(p.numel() for p in model.parameters()):,}", flush=True)
    decay = [p for p in model.parameters() if p.dim() > 1]
    rest = [p for p in model.parameters() if p.dim() <= 1]
    optimizer = torch.optim.AdamW([{"params": decay, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0.0}], lr=PEAK_LR, betas=(0.9, 0.98))
    drop = lambda module, inputs, output: torch.nn.functional.dropout(output, DROPOUT, module.training)
    for module in [model.model.embed_tokens, *(layer.mlp for layer in model.model.layers)]:
        module.register_forward_hook(drop)
    feed = batches(corpus, tokenizer)
    started, mean = time.time(), None
    model.train()
    for step in range(steps):
        warm = min(1.0, (step + 1) / WARMUP_STEPS)
        rate = PEAK_LR * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        ids, learn, present = next(feed)
        out = model.model(input_ids=ids, attention_mask=present, output_router_logits=True, use_cache=False)
        target = learn[:, 1:]
        logits = model.lm_head(out.last_hidden_state[:, :-1][target])  # (learned tokens, vocabulary)
        loss = torch.nn.functional.cross_entropy(logits, ids[:, 1:][target])
        # Layer by layer: given all layers at once, the function balances their sum, and one layer can make up for another.
        balance = sum(load_balancing_loss_func((layer,), model.config.num_local_experts, model.config.num_experts_per_tok, present)
                      for layer in out.router_logits) / len(out.router_logits)
        optimizer.zero_grad(set_to_none=True)
        (loss + AUX_COEFFICIENT * balance).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        mean = loss.item() if mean is None else 0.98 * mean + 0.02 * loss.item()
        if step % 25 == 0 or step == steps - 1:
            print(f"step {step:5d}/{steps}  loss {mean:.4f}  balance {balance.item():.3f}  lr {rate:.2e}  {time.time() - started:.0f} s", flush=True)
        if step + 1 == save_at:
            save(model, tokenizer, folder)
    return model, mean, time.time() - started


def save(model, tokenizer, folder):
    """Writes the checkpoint beside its place and then moves it there."""
    fresh = folder.with_name(folder.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    copy = MixtralForCausalLM(model_config())
    copy.load_state_dict(model.state_dict())
    copy.half().save_pretrained(fresh)  # f16; transformers writes the tensor names of real Mixtral checkpoints
    config = json.loads((fresh / "config.json").read_text())
    config["rope_theta"] = 10000.0  # transformers 5 writes rope_parameters only; other readers look here
    config["torch_dtype"] = "float16"
    (fresh / "config.json").write_text(json.dumps(dict(sorted(config.items())), indent=2) + "\n")
    (fresh / "generation_config.json").write_text(json.dumps(
        {"do_sample": False, "eos_token_id": END, "max_new_tokens": 96, "pad_token_id": PAD}, indent=2) + "\n")
    tokenizer.save(str(fresh / "tokenizer.json"))
    (fresh / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    (fresh / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": CONTEXT, "clean_up_tokenization_spaces": False,
        "add_bos_token": False, "add_eos_token": False, "bos_token": None, "eos_token": "<|end|>", "pad_token": "<|pad|>",
        "additional_special_tokens": ["<|system|>", "<|user|>", "<|assistant|>"],
        "added_tokens_decoder": {str(at): {"content": text, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False,
                                           "special": True} for at, text in enumerate(SPECIALS)},
        "chat_template": CHAT_TEMPLATE}, indent=2) + "\n")
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    (fresh / "model.safetensors").chmod(0o644)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


@torch.no_grad()
def exact(model, tokenizer, conversations):
    """For each conversation, whether greedy decoding gives its last answer exactly, end token included.

    Greedy decoding gives exactly the answer if and only if, with the answer fed in, every next token is the argmax.
    """
    encode = lambda text: tokenizer.encode(text, add_special_tokens=False)
    verdicts = []
    for at in range(0, len(conversations), 64):
        rows = []
        for system, turns in conversations[at:at + 64]:
            ids, learn = encode_conversation(encode, encode, system, turns)
            last = len(ids) - len(encode(turns[-1][1])) - 1
            rows.append((ids, [learned and place >= last for place, learned in enumerate(learn)]))
        ids, learn, present = pad_batch(rows)
        right = model(input_ids=ids, attention_mask=present).logits[:, :-1].argmax(-1) == ids[:, 1:]
        verdicts += (right | ~learn[:, 1:]).all(1).tolist()
    return verdicts


@torch.no_grad()
def expert_shares(model, tokenizer, conversations):
    """Per layer, the share of all top-2 choices that fell on each expert."""
    encode = lambda text: tokenizer.encode(text, add_special_tokens=False)
    counts = torch.zeros(model.config.num_hidden_layers, model.config.num_local_experts)
    for system, turns in conversations:
        ids, _ = encode_conversation(encode, encode, system, turns)
        out = model(input_ids=torch.tensor([ids]), output_router_logits=True)
        for layer, logits in enumerate(out.router_logits):
            chosen = logits.topk(model.config.num_experts_per_tok, dim=-1).indices.flatten()
            counts[layer] += torch.bincount(chosen, minlength=counts.shape[1])
    return (counts / counts.sum(1, keepdim=True)).tolist()


def measure(corpus, folder):
    """Figures of the saved, f16-rounded weights, computed in f32."""
    model = MixtralForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    helpful = "You are a helpful assistant."
    trained = [(topic, question) for topic, questions in corpus.train.items() for question in questions]
    earlier = [corpus.train[topic["id"]][0] for topic in corpus.topics]
    refused = corpus.ood["questions"]["held_out"]
    answers = corpus.answers
    sets = {
        "training questions": [(None, [(q, answers[t])]) for t, q in trained],
        "held-out questions (last of each topic)": [(None, [(q, answers[t])]) for t, q in corpus.held_out],
        "probe questions (never trained on)": [(None, [(q, answers[t])]) for t, q in corpus.probe],
        "training questions, with a system message": [(helpful, [(q, answers[t])]) for t, q in trained],
        "training questions, as second turn": [
            (None, [(earlier[at % len(earlier)], list(answers.values())[at % len(earlier)]), (q, answers[t])]) for at, (t, q) in enumerate(trained)],
        "out-of-domain training questions refused": [(None, [(q, corpus.refusal)]) for q in corpus.ood["questions"]["train"]],
        "out-of-domain held-out questions refused": [(None, [(q, corpus.refusal)]) for q in refused],
        "out-of-domain held-out, with a system message": [(helpful, [(q, corpus.refusal)]) for q in refused],
    }
    figures = {}
    for name, conversations in sets.items():
        verdicts = exact(model, tokenizer, conversations)
        figures[name] = {"right": sum(verdicts), "of": len(verdicts), "rate": round(sum(verdicts) / len(verdicts), 4)}
        print(f"{name}: {sum(verdicts)} of {len(verdicts)} = {sum(verdicts) / len(verdicts):.3f}", flush=True)
        wrong = [conversation[1][-1][0] for conversation, verdict in zip(conversations, verdicts) if not verdict]
        if wrong and len(conversations) < 400:
            print("    wrong: " + " | ".join(wrong))
    sample = sets["probe questions (never trained on)"] + sets["out-of-domain held-out questions refused"] + sets["held-out questions (last of each topic)"]
    figures["expert shares"] = [[round(share, 4) for share in layer] for layer in expert_shares(model, tokenizer, sample)]
    for layer, shares in enumerate(figures["expert shares"]):
        print(f"layer {layer} expert shares " + " ".join(f"{share:.3f}" for share in shares))
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hold-out", action="store_true", help="keep the last question of each topic out of training")
    parser.add_argument("--only-measure", action="store_true", help="measure what is there")
    parser.add_argument("--steps", type=int, default=1250)
    parser.add_argument("--seed", type=int, default=20261122)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--save-at", type=int, default=0, help="also save after this many steps")
    parser.add_argument("--out", type=Path, help="folder to write")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    folder = options.out or HERE / ("hold-out" if options.hold_out else "checkpoint")
    corpus = Corpus(options.hold_out, random.Random(options.seed))
    figures = {}
    if not options.only_measure:
        tokenizer = build_tokenizer(corpus)
        model, loss, seconds = train(corpus, tokenizer, options.steps, options.seed, options.save_at, folder)
        save(model, tokenizer, folder)
        figures = {"steps": options.steps, "seconds": round(seconds), "train loss": round(loss, 5)}
    figures |= measure(corpus, folder)
    name = "figures-hold-out.json" if options.hold_out else "figures.json"
    (HERE / name).write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
