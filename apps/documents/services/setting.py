"""Sets one document in a process of its own: what to set comes in by stdin, the PDF leaves by stdout.

The typesetter holds on to the memory of what it has set, about a gigabyte after ten thousand lines.
This is run as a file, so that nothing but the typesetter is loaded.
"""

import json
import sys

import typst


def main() -> None:
    """Set the document that stdin describes."""
    job = json.load(sys.stdin.buffer)
    fonts = typst.Fonts(include_system_fonts=False, include_embedded_fonts=False, font_paths=job["fonts"])
    made = typst.Compiler(root=job["root"], font_paths=fonts, ignore_system_fonts=True).compile(
        job["template"].encode(),
        sys_inputs={"data": job["data"]},
        format="pdf",
        pdf_standards=["a-3b"],
        pdf_tags=False,
        timestamp=job["at"],
    )
    assert isinstance(made, bytes)
    sys.stdout.buffer.write(made)


if __name__ == "__main__":
    main()
