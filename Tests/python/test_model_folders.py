"""Files of a model's folder beside its weights: followed as transformers and sentence-transformers do, or refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import AutoTokenizer

import single_stack
from command_line import run
from seam_abi import Array, SeamError
from seam_objects import Batch, Runtime
from seam_objects import Tokenizer as Opened
from single_stack import padded, reference

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "e", "A", "é", "##b", "中", "##国", "中国", "foo"]


# ---- The vector of a sentence encoder


def encoder(path: Path, pooling: dict[str, Any] | None = None, *more: str, **files: Any) -> Path:
    """A BERT with the files of sentence-transformers; `more` are modules behind the pooling."""
    single_stack.save("bert-no-head", path)
    modules = ["Transformer", "Pooling", *more]
    kinds = [
        {
            "idx": index,
            "name": str(index),
            "path": f"{index}_{kind}" if index else "",
            "type": f"sentence_transformers.models.{kind}",
        }
        for index, kind in enumerate(modules)
    ]
    (path / "1_Pooling").mkdir()
    (path / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 24} | (pooling or {})))
    for name, content in ({"modules": kinds} | files).items():
        (path / f"{name}.json").write_text(json.dumps(content))
    return path


def states(path: Path) -> tuple[Array, Array, Array]:
    ids, mask = padded(3, False)
    with torch.no_grad():
        found = reference("bert-no-head", path)(
            input_ids=torch.from_numpy(ids).long(), attention_mask=torch.from_numpy(mask).long()
        )
    return ids, mask, found.last_hidden_state.numpy()


VECTORS: dict[str, Callable[[Array, Array], Array]] = {
    "mean": lambda hidden, mask: (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdims=True),
    "cls": lambda hidden, mask: hidden[:, 0],
    "max": lambda hidden, mask: np.where(mask[..., None] == 1, hidden, -np.inf).max(1),
}
POOLINGS: dict[str, tuple[dict[str, Any], str]] = {
    "nothing said": ({}, "mean"),
    "mean": ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, "mean"),
    "cls": ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
    "max": ({"pooling_mode_max_tokens": True, "pooling_mode_mean_tokens": False}, "max"),
    "by name": ({"pooling_mode": "cls", "embedding_dimension": 24}, "cls"),
}


@pytest.mark.parametrize("case", POOLINGS)
def test_the_pooling_of_the_folder(runtime: Runtime, tmp_path: Path, case: str) -> None:
    settings, kind = POOLINGS[case]
    path = encoder(tmp_path / "model", settings, "Normalize")
    ids, mask, hidden = states(path)
    expected = VECTORS[kind](hidden, mask)
    batch = Batch(ids, mask)
    # Float32 in another order of additions.
    close = {"rtol": 0, "atol": 2e-5}
    np.testing.assert_allclose(runtime.open(path).session().pool(batch), expected, **close)
    for option, formula in VECTORS.items():
        found = runtime.open(path, options={"pooling": option}).session().pool(batch)
        np.testing.assert_allclose(found, formula(hidden, mask), **close)
    unit = runtime.open(path, options={"normalize": True}).session().pool(batch)
    np.testing.assert_allclose(unit, expected / np.linalg.norm(expected, axis=1, keepdims=True), **close)


REFUSED_ENCODERS: dict[str, tuple[dict[str, Any], str]] = {
    "two poolings": ({"pooling": {"pooling_mode_cls_token": True}}, "asks for the pooling cls \\+ mean"),
    "weighted": ({"pooling": {"pooling_mode": "weightedmean"}}, "asks for the pooling weightedmean"),
    "last token": (
        {"pooling": {"pooling_mode_lasttoken": True, "pooling_mode_mean_tokens": False}},
        "the pooling lasttoken",
    ),
    "none": ({"pooling": {"pooling_mode_mean_tokens": False}}, "asks for no pooling"),
    "dense": ({"more": ["Dense"]}, "modules.json lists a module of the type sentence_transformers.models.Dense"),
    "a class of the model's own": (
        {
            "modules": [
                {"path": "", "type": "custom_st.Transformer"},
                {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
            ]
        },
        "modules.json lists a module of the type custom_st.Transformer",
    ),
    "another output": (
        {
            "sentence_bert_config": {
                "modality_config": {"text": {"method": "forward", "method_output_name": "pooler_output"}}
            }
        },
        'sentence_bert_config.json has .*pooler_output.* as "modality_config"',
    ),
    "another task": (
        {"sentence_roberta_config": {"transformer_task": "fill-mask"}},
        'sentence_roberta_config.json has "fill-mask" as "transformer_task"',
    ),
    "a part of the vector": (
        {"config_sentence_transformers": {"truncate_dim": 8}},
        "config_sentence_transformers.json cuts the vector to 8",
    ),
    "prompt": (
        {"config_sentence_transformers": {"default_prompt_name": "query"}},
        'puts the prompt "query" before every text',
    ),
}


@pytest.mark.parametrize("case", REFUSED_ENCODERS)
def test_another_vector_is_refused(runtime: Runtime, tmp_path: Path, case: str) -> None:
    files, sentence = REFUSED_ENCODERS[case]
    path = encoder(tmp_path / "model", files.pop("pooling", None), *files.pop("more", []), **files)
    with pytest.raises(SeamError, match=f"{sentence}.*the option pooling=.* gives the one without it"):
        runtime.open(path)
    assert runtime.open(path, options={"pooling": "mean"}).session().pool(Batch(np.full((1, 3), 5))).shape == (1, 24)


def test_modules_of_version_6(runtime: Runtime, tmp_path: Path) -> None:
    """As sentence-transformers 6.2 writes them."""
    usual = {
        "transformer_task": "feature-extraction",
        "module_output_name": "token_embeddings",
        "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
    }
    path = encoder(
        tmp_path / "model",
        {"pooling_mode": "cls"},
        sentence_bert_config=usual,
        modules=[
            {"path": "", "type": "sentence_transformers.base.modules.transformer.Transformer"},
            {"path": "1_Pooling", "type": "sentence_transformers.sentence_transformer.modules.pooling.Pooling"},
            {"path": "2_Normalize", "type": "sentence_transformers.base.modules.normalize.Normalize"},
        ],
    )
    ids, mask, hidden = states(path)
    found = runtime.open(path).session().pool(Batch(ids, mask))
    np.testing.assert_allclose(found, hidden[:, 0], rtol=0, atol=2e-5)  # Float32 in another order of additions.


def test_a_copy_is_the_same_encoder(runtime: Runtime, tmp_path: Path) -> None:
    backbone = runtime.open(encoder(tmp_path / "model", {"pooling_mode": "max"}))
    backbone.save(tmp_path / "copy")
    batch = Batch(*padded(3, False))
    assert np.array_equal(runtime.open(tmp_path / "copy").session().pool(batch), backbone.session().pool(batch))


# ---- Tokenizers beside whose file others stand


def wordpiece() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece({each: index for index, each in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.add_special_tokens(WORDS[:5])
    return tokenizer


def pieces() -> Tokenizer:
    words = ["<unk>", "<s>", "</s>", *"▁abcdfijk", "ij"]
    tokenizer = Tokenizer(models.BPE({each: index for index, each in enumerate(words)}, [], unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_tokens([AddedToken("<s>", special=True), AddedToken("</s>", special=True)])
    return tokenizer


GENERAL = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>"}
BERT = {"tokenizer_class": "BertTokenizer"}
TEXTS = ["Ab é A 中国 foo", "ab<s> c ijk", "a ijk b", " <s>  b", ""]


def flags(content: str, **more: bool) -> dict[str, Any]:
    return {
        "content": content,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "single_word": False,
        "special": False,
    } | more


TOKENIZERS: dict[str, tuple[Callable[[], Tokenizer], str, dict[str, Any]]] = {
    "as the file says": (wordpiece, "bert", {"tokenizer_config": BERT}),
    "do_lower_case": (wordpiece, "bert", {"tokenizer_config": BERT | {"do_lower_case": False}}),
    "strip_accents": (wordpiece, "bert", {"tokenizer_config": BERT | {"strip_accents": False}}),
    "tokenize_chinese_chars": (wordpiece, "bert", {"tokenizer_config": BERT | {"tokenize_chinese_chars": False}}),
    "a general class": (
        wordpiece,
        "bert",
        {"tokenizer_config": {"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": False}},
    ),
    "no class": (wordpiece, "bert", {"tokenizer_config": {"do_lower_case": False}}),
    "a new token": (pieces, "llama", {"tokenizer_config": GENERAL | {"added_tokens_decoder": {"13": flags("ijk")}}}),
    "a token of the vocabulary": (
        pieces,
        "llama",
        {"tokenizer_config": GENERAL | {"added_tokens_decoder": {"12": flags("ij")}}},
    ),
    "rstrip": (
        pieces,
        "llama",
        {"tokenizer_config": GENERAL | {"added_tokens_decoder": {"1": flags("<s>", rstrip=True, special=True)}}},
    ),
    "additional_special_tokens": (
        pieces,
        "llama",
        {"tokenizer_config": GENERAL | {"additional_special_tokens": ["ij"]}},
    ),
    "added_tokens.json": (pieces, "llama", {"tokenizer_config": GENERAL, "added_tokens": {"ijk": 13}}),
    "no matter": (
        pieces,
        "llama",
        {
            "tokenizer_config": GENERAL
            | {"add_bos_token": True, "add_eos_token": True, "model_max_length": 2, "padding_side": "left"}
        },
    ),
}


def with_files(path: Path, build: Callable[[], Tokenizer], family: str, files: dict[str, Any]) -> Path:
    path.mkdir()
    build().save(str(path / "tokenizer.json"))
    for name, content in ({"config": {"model_type": family}} | files).items():
        (path / f"{name}.json").write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("case", TOKENIZERS)
def test_a_tokenizer_is_that_of_transformers(tmp_path: Path, case: str) -> None:
    build, family, files = TOKENIZERS[case]
    path = with_files(tmp_path / "model", build, family, files)
    hugging_face, tokenizer = AutoTokenizer.from_pretrained(path), Opened(path)
    for text in TEXTS:
        assert tokenizer.encode(text) == hugging_face(text)["input_ids"], text


@pytest.mark.parametrize("cleans", [True, False])
@pytest.mark.parametrize("build", [wordpiece, pieces])
def test_spaces_are_cleaned_as_by_transformers(tmp_path: Path, build: Callable[[], Tokenizer], cleans: bool) -> None:
    """Tokens that are words with spaces stand for those of a decoder that leaves such."""
    files = {"tokenizer_config": {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": cleans}}
    path = with_files(tmp_path / "model", build, "llama", files)
    json_file = json.loads((path / "tokenizer.json").read_text())
    json_file["decoder"] = {"type": "Fuse"}
    words = [" .", " ?", " ' ", " n't", " 's", " do not", " ,"]
    json_file["model"]["vocab"] |= {each: len(json_file["model"]["vocab"]) + index for index, each in enumerate(words)}
    (path / "tokenizer.json").write_text(json.dumps(json_file))
    hugging_face = AutoTokenizer.from_pretrained(path)
    ids = [5, *hugging_face.convert_tokens_to_ids(words), 6]
    assert Opened(path).decode(ids) == hugging_face.decode(ids, skip_special_tokens=True)
    assert (" ." in Opened(path).decode(ids)) == (build is pieces or not cleans)


REFUSED_TOKENIZERS: dict[str, tuple[dict[str, Any], str]] = {
    "split_special_tokens": ({"tokenizer_config": {"split_special_tokens": True}}, '"split_special_tokens": true'),
    "add_prefix_space": (
        {"tokenizer_config": {"tokenizer_class": "LlamaTokenizer", "add_prefix_space": False}},
        'has "add_prefix_space": false, tokenizer.json has true',
    ),
    "another language": (
        {"tokenizer_config": {"tokenizer_class": "MBartTokenizer", "src_lang": "ij"}},
        'has "ij" as "src_lang", whose token',
    ),
    "an unknown special token": (
        {"special_tokens_map": {"additional_special_tokens": ["<new>"]}},
        'names the special token "<new>"',
    ),
    "a gap": ({"tokenizer_config": {"added_tokens_decoder": {"40": flags("ijk")}}}, "the id 40, expected 13"),
    "lower case": ({"sentence_bert_config": {"do_lower_case": True}}, '"do_lower_case": true, and the tokenizer keeps'),
    "no room": ({"sentence_bert_config": {"max_seq_length": 0}}, 'as "max_seq_length", found 0'),
    "no object": ({"tokenizer_config": [1]}, "must hold a JSON object, found"),
}


@pytest.mark.parametrize("case", REFUSED_TOKENIZERS)
def test_what_contradicts_tokenizer_json_is_refused(tmp_path: Path, case: str) -> None:
    files, sentence = REFUSED_TOKENIZERS[case]
    with pytest.raises(SeamError, match=sentence):
        Opened(with_files(tmp_path / "model", pieces, "llama", files))


def test_another_token_for_unknown_words_is_refused(tmp_path: Path) -> None:
    """transformers builds BERT's tokenizer with the token of tokenizer_config.json."""
    same = with_files(tmp_path / "same", wordpiece, "bert", {"tokenizer_config": BERT | {"unk_token": "[UNK]"}})
    assert Opened(same).encode("zzz") == AutoTokenizer.from_pretrained(same)("zzz")["input_ids"]
    other = with_files(tmp_path / "other", wordpiece, "bert", {"tokenizer_config": BERT | {"unk_token": "[MASK]"}})
    with pytest.raises(SeamError, match=r'has "\[MASK\]" as "unk_token", tokenizer.json has "\[UNK\]"'):
        Opened(other)


MODULES = [{"path": "", "type": "sentence_transformers.models.Transformer"}]
CUTS: dict[str, dict[str, Any]] = {
    "bert": {"sentence_bert_config": {"max_seq_length": 6}},
    **{
        kind: {f"sentence_{kind}_config": {"max_seq_length": 6}}
        for kind in ("roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
    },
    "the tokenizer's length": {"modules": MODULES, "tokenizer_config": {**BERT, "model_max_length": 6}},
    "no model_max_length": {
        "modules": MODULES,
        "sentence_bert_config": {"max_seq_length": None},
        "tokenizer_config": {**BERT, "model_max_length": int(1e30)},
    },
}


@pytest.mark.parametrize("case", CUTS)
def test_where_sentence_transformers_cuts(tmp_path: Path, case: str) -> None:
    """In place of what tokenizer.json says, which it takes no notice of."""
    path = with_files(tmp_path / "model", wordpiece, "bert", CUTS[case])
    tokenizer = wordpiece()
    tokenizer.enable_truncation(4)
    tokenizer.save(str(path / "tokenizer.json"))
    tokenizer.no_truncation()
    if "model_max_length" not in case:
        tokenizer.enable_truncation(6)
    assert Opened(path).encode("a b e a b e a") == tokenizer.encode("a b e a b e a").ids


# ---- Folders of something else

POINTER = (
    "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1\nsize 12345\n"
)
FOREIGN: dict[str, tuple[list[str], str]] = {
    "pickle": (["config.json", "pytorch_model.bin"], "only pytorch_model.bin, a pickle, .*save_pretrained"),
    "shards of pickles": (["config.json", "pytorch_model-00001-of-00002.bin"], "a pickle, which is never executed"),
    "ctranslate2": (
        ["model.bin", "config.json", "shared_vocabulary.json"],
        "converted for CTranslate2 .*save_pretrained",
    ),
    "marian": (
        ["model.npz", "decoder.yml", "source.spm"],
        "of the Marian program \\(model.npz, decoder.yml\\).*convert",
    ),
    "onnx": (["config.json", "model.onnx"], "only an ONNX model \\(model.onnx\\)"),
    "tensorflow": (["config.json", "tf_model.h5"], "only a TensorFlow model"),
    "flax": (["config.json", "flax_model.msgpack"], "only a Flax model"),
    "an adapter": (["adapter_config.json", "adapter_model.safetensors"], "an adapter .* of the model that it was"),
    "another name": (["config.json", "weights.safetensors"], "they are looked for as model.safetensors"),
    "an old sentence encoder": (["modules.json", "0_Transformer"], "with its Transformer in 0_Transformer; give that"),
    "nothing": (["notes.txt"], "has no config.json"),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_a_folder_of_another_program_is_named(runtime: Runtime, tmp_path: Path, case: str) -> None:
    names, sentence = FOREIGN[case]
    path = tmp_path / "model"
    path.mkdir()
    for name in names:
        (path / name).write_text("{}")
    with pytest.raises(SeamError, match=sentence):
        runtime.open(path)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json", "model.gguf"])
def test_a_pointer_of_git_lfs_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / "model"
    shutil.copytree(with_files(tmp_path / "other", wordpiece, "bert", {}), path)
    if name.endswith(".gguf"):
        (path / "config.json").unlink()
    else:
        single_stack.save("llama", path)
    (path / name).write_text(POINTER)
    done = run("generate", "--model", path, "a")
    assert done.returncode == 1 and f'{name}" is a Git LFS pointer' in done.stderr and "git lfs pull" in done.stderr


def test_quantised_weights_are_named(runtime: Runtime, tmp_path: Path) -> None:
    path = single_stack.save("llama", tmp_path / "model")
    config = json.loads((path / "config.json").read_text()) | {
        "quantization_config": {"quant_method": "gptq", "bits": 4}
    }
    (path / "config.json").write_text(json.dumps(config))
    with pytest.raises(SeamError, match='"quantization_config" says that the weights are quantised by "gptq"'):
        runtime.open(path)


def test_an_unknown_family_is_answered_with_the_known_ones(runtime: Runtime, tmp_path: Path) -> None:
    path = single_stack.save("llama", tmp_path / "model")
    (path / "config.json").write_text(json.dumps({"model_type": "mamba"}))
    with pytest.raises(SeamError, match=r'"model_type" is "mamba"\); asked: .*transformer \(.*t5, mt5, .*bart.*qwen2'):
        runtime.open(path)


def test_an_adapter_whose_plugin_is_not_loaded(runtime: Runtime, plugin_folder: Path, tmp_path: Path) -> None:
    path = single_stack.save("llama", tmp_path / "model")
    runtime.open(path).adapter("prefix-tuning", {"prefix_length": 2}).save(tmp_path / "adapter")
    backbone = Runtime([plugin_folder / "libTransformer.so"]).open(path)
    with pytest.raises(SeamError, match='the adapter "prefix-tuning" of the plugin org.seamkit.* which is not loaded'):
        backbone.load(tmp_path / "adapter")
