"""Archives of tensors with a single bit changed, or compressed."""

import io
import zipfile


def flipped_tensor(content: bytes) -> bytes:
    """A torch archive in which one bit of its largest tensor is another, and nothing else."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        member = max((m for m in archive.infolist() if "/data/" in m.filename), key=lambda m: m.file_size)
        stored = archive.read(member)
    at = content.index(stored, member.header_offset) + len(stored) // 2
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def compressed(content: bytes) -> bytes:
    """The members of a zip archive, compressed: what may unpack to gigabytes."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as into:
        for name in archive.namelist():
            into.writestr(name, archive.read(name))
    return packed.getvalue()
