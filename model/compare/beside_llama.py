"""Decode and prefill of `counterfoil` beside llama.cpp: the same GGUF file, as many threads, in turn.

    python3 -m venv venv && venv/bin/pip install -r model/compare/requirements.txt     # builds llama.cpp: minutes
    counterfoil model synth --like qwen1.5-moe --layers 4 --quant q4_k --out qwen4.gguf
    venv/bin/python model/compare/beside_llama.py --counterfoil target/release/counterfoil qwen4.gguf

Prints one JSON document: each turn's tokens per second of both, their medians, and the median of the turns' ratios
(`counterfoil` divided by llama.cpp). llama.cpp refuses a model without a tokenizer and `model synth` writes none, so
it gets a copy with a made-up one, which lives as long as the run. Ids are fed to it directly; no text is involved.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import gguf
import llama_cpp
import numpy

PREFILL = 128
PROMPT = [2, 100, 101, 102, 103, 104, 4, 3]


def with_tokenizer(source: Path, target: Path) -> int:
    """Writes the model again with a tokenizer that has a word for every id; returns how many there are."""
    reader = gguf.GGUFReader(source)
    architecture = str(reader.fields["general.architecture"].contents())
    writer = gguf.GGUFWriter(target, architecture)
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        if name.startswith("tokenizer."):
            raise SystemExit(f"{source} has a tokenizer; give it to llama.cpp as it is")
        kind = field.types[0]
        if kind == gguf.GGUFValueType.ARRAY:
            writer.add_array(name, field.contents())
        else:
            writer.add_key_value(name, field.contents(), kind)
    embedding = next(tensor for tensor in reader.tensors if tensor.name == "token_embd.weight")
    words = int(embedding.shape[-1])
    writer.add_tokenizer_model("llama")
    writer.add_token_list([f"<{n}>" for n in range(words)])
    writer.add_token_scores([0.0] * words)
    writer.add_token_types([gguf.TokenType.NORMAL] * words)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return words


class LlamaCpp:
    """A model in llama.cpp, asked through its C interface."""

    def __init__(self, path: Path, threads: int, words: int) -> None:
        llama_cpp.llama_backend_init()
        params = llama_cpp.llama_model_default_params()
        params.n_gpu_layers = 0
        self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
        if not self.model:
            raise SystemExit(f"llama.cpp does not load {path}")
        self.threads, self.words = threads, words

    def _context(self, positions: int):
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = positions
        params.n_batch = params.n_ubatch = 512
        params.n_threads = params.n_threads_batch = self.threads
        context = llama_cpp.llama_init_from_model(self.model, params)
        if not context:
            raise SystemExit("llama.cpp makes no context")
        return context

    def _feed(self, context, ids: list[int]) -> None:
        array = (llama_cpp.llama_token * len(ids))(*ids)
        if llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(array, len(ids))) != 0:
            raise SystemExit("llama.cpp refused a batch")

    def _likeliest(self, context) -> int:
        logits = llama_cpp.llama_get_logits_ith(context, -1)
        return int(numpy.ctypeslib.as_array(logits, shape=(self.words,)).argmax())

    def decode(self, tokens: int) -> float:
        """Greedy tokens per second after a short prompt, which is not timed."""
        context = self._context(512)
        self._feed(context, PROMPT)
        begin = time.perf_counter()
        for _ in range(tokens):
            self._feed(context, [self._likeliest(context)])
        self._likeliest(context)
        took = time.perf_counter() - begin
        llama_cpp.llama_free(context)
        return tokens / took

    def prefill(self) -> float:
        """Positions per second of one prompt, with the logits of the last."""
        context = self._context(512)
        ids = [PROMPT[at % len(PROMPT)] for at in range(PREFILL)]
        begin = time.perf_counter()
        self._feed(context, ids)
        self._likeliest(context)
        took = time.perf_counter() - begin
        llama_cpp.llama_free(context)
        return PREFILL / took


def ours(arguments: argparse.Namespace) -> dict[str, float]:
    """Tokens per second of `counterfoil`, by the name of the row."""
    command = [arguments.counterfoil, "--threads", str(arguments.threads), "bench", "decode", "--table", "llama-bench",
               "--model", str(arguments.model), "--tokens", str(arguments.tokens), "--repeats", "1"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in done.stdout.splitlines()]
    return {row[5]: float(row[6].split()[0]) for row in rows[2:]}


def measure(arguments: argparse.Namespace, folder: Path) -> dict:
    copy = folder / "with-tokenizer.gguf"
    words = with_tokenizer(arguments.model, copy)
    peer = LlamaCpp(copy, arguments.threads, words)
    rows = {f"pp{PREFILL}": peer.prefill, f"tg{arguments.tokens}": lambda: peer.decode(arguments.tokens)}
    report = {
        "model": arguments.model.name, "threads": arguments.threads, "repeats": arguments.repeats,
        "llama_cpp_python": llama_cpp.__version__,
        "llama_cpp": llama_cpp.llama_print_system_info().decode().strip(),
    }
    turns = {name: [] for name in rows}
    # The first turn warms up and is thrown away.
    for turn in range(arguments.repeats + 1):
        own = ours(arguments)
        for name, theirs in rows.items():
            pair = (own[name], theirs())
            print(f"{name} {turn}: {pair[0]:.1f} and {pair[1]:.1f} tokens/s", file=sys.stderr)
            if turn > 0:
                turns[name].append(pair)
    for name, pairs in turns.items():
        ratios = [own / theirs for own, theirs in pairs]
        report[name] = {
            "turns": pairs,
            "tokens_per_s": statistics.median(own for own, _ in pairs),
            "llama_cpp_tokens_per_s": statistics.median(theirs for _, theirs in pairs),
            "ratio": statistics.median(ratios), "ratio_least": min(ratios), "ratio_most": max(ratios),
        }
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("model", type=Path, help="a GGUF file without a tokenizer, as `model synth` writes it")
    parser.add_argument("--counterfoil", default="counterfoil", help="the program [default: the one on the PATH]")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=32, help="of each decode")
    parser.add_argument("--repeats", type=int, default=5, help="turns that count")
    arguments = parser.parse_args()
    if not 1 <= arguments.tokens <= 500:
        parser.error("--tokens is 1 to 500")
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(arguments, Path(folder)), indent=2))


if __name__ == "__main__":
    main()
