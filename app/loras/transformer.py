"""Describes the linear layers of a FLUX.2 transformer by its size, and names the published checkpoints."""

from dataclasses import dataclass

Linears = dict[str, tuple[int, int]]
"""Rows and columns of each linear layer, by its name in diffusers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformerSize:
    """The numbers that determine every linear layer of diffusers' Flux2Transformer2DModel."""

    width: int
    double_blocks: int
    single_blocks: int
    mlp_width: int
    text_width: int
    channels: int
    time_channels: int = 256
    has_guidance: bool = False

    def linears(self) -> Linears:
        """Return the linear layers."""
        d, mlp = self.width, self.mlp_width
        linears: Linears = {
            "x_embedder": (d, self.channels),
            "context_embedder": (d, self.text_width),
            "double_stream_modulation_img.linear": (6 * d, d),
            "double_stream_modulation_txt.linear": (6 * d, d),
            "single_stream_modulation.linear": (3 * d, d),
            "norm_out.linear": (2 * d, d),
            "proj_out": (self.channels, d),
        }
        for embedder in ("timestep", "guidance") if self.has_guidance else ("timestep",):
            name = f"time_guidance_embed.{embedder}_embedder"
            linears |= {f"{name}.linear_1": (d, self.time_channels), f"{name}.linear_2": (d, d)}
        for k in range(self.double_blocks):
            block = f"transformer_blocks.{k}"
            for name in _ATTENTION:
                linears[f"{block}.attn.{name}"] = (d, d)
            for name in ("ff", "ff_context"):
                linears[f"{block}.{name}.linear_in"] = (2 * mlp, d)
                linears[f"{block}.{name}.linear_out"] = (d, mlp)
        for k in range(self.single_blocks):
            block = f"single_transformer_blocks.{k}.attn"
            linears[f"{block}.to_qkv_mlp_proj"] = (3 * d + 2 * mlp, d)
            linears[f"{block}.to_out"] = (d, d + mlp)
        return linears


_ATTENTION = (
    "to_q",
    "to_k",
    "to_v",
    "to_out.0",
    "add_q_proj",
    "add_k_proj",
    "add_v_proj",
    "to_add_out",
)
PUBLISHED = {
    "FLUX.2-klein-4B": TransformerSize(
        width=3072,
        double_blocks=5,
        single_blocks=20,
        mlp_width=9216,
        text_width=7680,
        channels=128,
    ),
    "FLUX.2-klein-9B": TransformerSize(
        width=4096,
        double_blocks=8,
        single_blocks=24,
        mlp_width=12288,
        text_width=12288,
        channels=128,
    ),
    "FLUX.2-dev": TransformerSize(
        width=6144,
        double_blocks=8,
        single_blocks=48,
        mlp_width=18432,
        text_width=15360,
        channels=128,
        has_guidance=True,
    ),
}
"""The sizes of the published checkpoints. Base and distilled ones are alike."""
