"""Writes the F32 and BF16 twins of a quantised GGUF file: the same metadata and tokenizer, weights dequantised.

python gguf_wide.py SmolLM2-135M-Instruct.Q4_1.gguf --out FOLDER    makes FOLDER/f32.gguf and FOLDER/bf16.gguf

llama.cpp then computes with weights of the same width, and the same values, as the Hugging Face folder that others read.
"""

import argparse
from pathlib import Path

from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter, LlamaFileType, quants

FILE_TYPES = {"F32": LlamaFileType.ALL_F32, "BF16": LlamaFileType.MOSTLY_BF16}


def copy_metadata(reader, writer, width):
    for name, field in reader.fields.items():
        # The first are the file's own header, the second the writer sets; the last would speak of quantised weights.
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type", "general.quantization_version"):
            continue
        inner = field.types[-1] if len(field.types) > 1 else None
        writer.add_key_value(name, field.contents(), field.types[0], sub_type=inner)
    writer.add_file_type(FILE_TYPES[width])


def add_tensors(reader, writer, width):
    for tensor in reader.tensors:
        data = quants.dequantize(tensor.data, tensor.tensor_type)
        # Norms stay f32, as in llama.cpp's own BF16 files.
        kind = GGMLQuantizationType[width if data.ndim > 1 else "F32"]
        writer.add_tensor(tensor.name, quants.quantize(data, kind), raw_dtype=kind)


def write(source, path, width):
    reader = GGUFReader(source)
    writer = GGUFWriter(path, reader.fields["general.architecture"].contents())
    copy_metadata(reader, writer, width)
    add_tensors(reader, writer, width)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for width in FILE_TYPES:
        write(options.source, options.out / f"{width.lower()}.gguf", width)


if __name__ == "__main__":
    main()
