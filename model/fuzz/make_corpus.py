"""Makes `seed/` and `corpus/`: the smallest files of each kind that are right, for the fuzzer to change.

    pip install -r ../fixtures/requirements.txt; python make_corpus.py PROGRAM

The model has one layer of two experts; all values are a fixed ramp. The corpus of `manifest` is what PROGRAM, a built `counterfoil`, writes.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import gguf
import numpy as np
from safetensors.numpy import save_file

HERE = Path(__file__).resolve().parent
HIDDEN, INNER, HEADS, VOCAB, EXPERTS = 32, 32, 2, 8, 2

CONFIG = {
    "model_type": "mixtral", "hidden_size": HIDDEN, "intermediate_size": INNER, "num_hidden_layers": 1, "num_attention_heads": HEADS,
    "num_key_value_heads": HEADS, "num_local_experts": EXPERTS, "num_experts_per_tok": 1, "vocab_size": VOCAB, "max_position_embeddings": 16,
    "rms_norm_eps": 1e-5, "rope_theta": 1e4, "hidden_act": "silu", "tie_word_embeddings": True}


def ramp(*shape):
    return (np.arange(np.prod(shape), dtype=np.float32).reshape(shape) % 7 - 3) / 16


def tensors():
    layer = "model.layers.0."
    found = {"model.embed_tokens.weight": ramp(VOCAB, HIDDEN), "model.norm.weight": ramp(HIDDEN), layer + "input_layernorm.weight": ramp(HIDDEN),
             layer + "post_attention_layernorm.weight": ramp(HIDDEN), layer + "block_sparse_moe.gate.weight": ramp(EXPERTS, HIDDEN)}
    for part in "qkvo":
        found[f"{layer}self_attn.{part}_proj.weight"] = ramp(HIDDEN, HIDDEN)
    for expert in range(EXPERTS):
        for part, shape in {"w1": (INNER, HIDDEN), "w2": (HIDDEN, INNER), "w3": (INNER, HIDDEN)}.items():
            found[f"{layer}block_sparse_moe.experts.{expert}.{part}.weight"] = ramp(*shape)
    return found


def write(target, name, content):
    path = HERE / "corpus" / target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def make_gguf(name, quantised):
    path = HERE / "corpus" / "gguf" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(16)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_expert_count(EXPERTS)
    writer.add_expert_used_count(1)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(["a", "b", "c", "ab", "Ġ", "1", "<s>", "</s>"])
    writer.add_token_types([1, 1, 1, 1, 1, 1, 3, 3])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(6)
    writer.add_eos_token_id(7)
    writer.add_chat_template("{% for m in messages %}{{ m.content }}{% endfor %}")

    def tensor(name, values, dtype=None):
        if dtype is None:
            writer.add_tensor(name, values)
        else:
            writer.add_tensor(name, gguf.quants.quantize(values, dtype), raw_dtype=dtype)

    kind = gguf.GGMLQuantizationType.Q8_0 if quantised else None
    tensor("token_embd.weight", ramp(VOCAB, HIDDEN), kind)
    tensor("output_norm.weight", ramp(HIDDEN))
    tensor("blk.0.attn_norm.weight", ramp(HIDDEN))
    tensor("blk.0.ffn_norm.weight", ramp(HIDDEN))
    tensor("blk.0.ffn_gate_inp.weight", ramp(EXPERTS, HIDDEN))
    for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
        tensor(f"blk.0.{part}.weight", ramp(HIDDEN, HIDDEN), kind)
    for part in ("ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"):
        tensor(f"blk.0.{part}.weight", ramp(EXPERTS, HIDDEN, INNER), kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def make_manifests(program, sources):
    for name, source in sources.items():
        with tempfile.TemporaryDirectory() as out:
            subprocess.run([program, "model", "split", source, "--out", f"{out}/split"], check=True, stdout=subprocess.DEVNULL)
            write("manifest", name, Path(out, "split", "manifest.cbor").read_bytes())


def main():
    if len(sys.argv) != 2:
        sys.exit("use: python make_corpus.py PROGRAM, where PROGRAM is a built counterfoil")
    for folder in ("seed", "corpus"):
        shutil.rmtree(HERE / folder, ignore_errors=True)
    seed = HERE / "seed"
    seed.mkdir()
    (seed / "config.json").write_text(json.dumps(CONFIG) + "\n")
    save_file(tensors(), seed / "model.safetensors")
    make_gguf("plain.gguf", quantised=False)
    make_gguf("q8_0.gguf", quantised=True)
    write("safetensors", "whole", (seed / "model.safetensors").read_bytes())
    write("safetensors", "empty", (2).to_bytes(8, "little") + b"{}")
    fixtures = HERE.parent / "fixtures" / "families"
    write("config", "seed.json", json.dumps(CONFIG))
    for folder in sorted(fixtures.iterdir()):
        write("config", f"{folder.name}.json", (folder / "config.json").read_text())
    write("index", "whole.json", json.dumps({"weight_map": {name: "model-00001-of-00001.safetensors" for name in tensors()}}))
    tokenizer = {"version": "1.0", "added_tokens": [], "normalizer": None, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
                 "post_processor": None, "decoder": {"type": "ByteLevel"}, "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}}
    settings = {"bos_token": "<s>", "eos_token": {"content": "</s>"}, "chat_template": "{{ bos_token }}"}
    template = "{% for m in messages %}{% if m.role == 'user' %}{{ m.content | trim }}{% else %}{{ raise_exception('no') }}{% endif %}{% endfor %}"
    write("vocabulary", "whole", b"\xff".join([json.dumps(tokenizer).encode(), json.dumps(settings).encode(), template.encode()]))
    files = fixtures.parent / "gguf"
    make_manifests(sys.argv[1], {"seed": seed, "deepseek": fixtures / "deepseek-lite", "qwen": fixtures / "qwen",
                                 "dbrx": files / "dbrx-quantised.gguf", "mixtral": files / "mixtral-quantised.gguf"})


if __name__ == "__main__":
    main()
