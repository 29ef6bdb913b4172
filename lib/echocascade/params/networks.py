"""Networks of the paper's size, by name: `network: {preset: paper_base}`.

Parameters and FLOPs of the authors' networks were measured (FACTS Sec. 3); these reach both within
15 %. The base is literally of the paper's shape: width 64, multipliers 1, 2, 4, two blocks a level.
The two super-resolution networks halve the picture first and spend the same FLOPs on wider levels:
fewer and wider activations take less memory, and wide convolutions run faster.
"""

from typing import Any, Literal

NetworkPreset = Literal["paper_base", "paper_tssr", "paper_ssr"]

PRESETS: dict[NetworkPreset, dict[str, Any]] = {
    # 16 frames of 112 px (1SCM) or 56 px (2SCM, 4SCM), and the TSR stages of 4SCM
    "paper_base": {
        "base_channels": 64,
        "channel_multipliers": (1, 2, 4),
        "blocks_per_level": 2,
        "middle_blocks": 2,
        "patch": 1,
        "full_resolution_channels": 80,
        "temporal_attention": (0, 1, 2),
        "spatial_attention": (),
        "middle_spatial_attention": True,
        "attention_head_channels": 64,
    },
    # 2SCM, 64 frames of 112 px
    "paper_tssr": {
        "base_channels": 64,
        "channel_multipliers": (2, 3, 4),
        "blocks_per_level": 2,
        "middle_blocks": 1,
        "patch": 2,
        "full_resolution_channels": 16,
        "temporal_attention": (0, 1, 2),
        "spatial_attention": (2,),
        "attention_head_channels": 64,
    },
    # 4SCM, 64 frames of 112 px: most of its work is at the finest level
    "paper_ssr": {
        "base_channels": 64,
        "channel_multipliers": (3, 3, 3),
        "blocks_per_level": (4, 1, 1),
        "middle_blocks": 1,
        "patch": 2,
        "full_resolution_channels": 16,
        "temporal_attention": (1, 2),
        "spatial_attention": (),
        "middle_spatial_attention": True,
        "attention_head_channels": 64,
    },
}
