"""Named starting points; a file or `--set` changes any value of them."""

from typing import Any

_TINY_TOWER = {
    "hidden_dim": 64,
    "num_heads": 4,
    "intermediate_dim": 128,
    "head_dim": 64,
    "text_dim": 64,
    "hash_table_size": 20_000,
}

PRESETS: dict[str, dict[str, Any]] = {
    # Seconds to minutes on two cores: the quickstart and the tests.
    "tiny": {
        "embedding_dim": 64,
        "product_tower": _TINY_TOWER,
        "pin_tower": _TINY_TOWER,
        "query_tower": {
            "num_layers": 1,
            "hidden_dim": 64,
            "intermediate_dim": 128,
            "max_length": 32,
        },
        "loss": {"sketch_width": 2**16},
        "training": {"batch_size": 256, "random_negatives": 256, "learning_rate": 2e-3},
        "preprocess": {
            "max_unigrams": 20_000,
            "max_bigrams": 50_000,
            "max_char_trigrams": 20_000,
            "wordpiece_size": 2000,
        },
    },
    # A catalogue of up to some millions on one machine, with or without a GPU.
    "base": {
        "product_tower": {"hidden_dim": 256, "intermediate_dim": 1024, "head_dim": 256},
        "pin_tower": {"hidden_dim": 256, "intermediate_dim": 1024, "head_dim": 256},
        "query_tower": {"hidden_dim": 256, "intermediate_dim": 1024, "num_layers": 2},
        # A title costs as much as a query where the encoder reads both: few random ones a step.
        "training": {"random_negatives": 64},
    },
    # ItemSage section 4.1 and 5.1, OmniSearchSage section 3: towers, tables, batches, negatives.
    "paper": {
        "embedding_dim": 256,
        "query_tower": {"preset": "distil_bert_base_multi", "pooling": "cls"},
        "loss": {
            "sketch_width": 2**26,
            "prefix_weights": {16: 0.05, 32: 0.05, 64: 0.05, 128: 0.05, 256: 1.0},
        },
        "training": {
            "batch_size": 10_240,
            "random_negatives": 40_960,
            "optimizer": "lamb",
            "learning_rate": 10**-2.7,
            "steps": 150_000,
            "warmup_share": 0.005,
            "precision": "mixed_bfloat16",
        },
    },
}
