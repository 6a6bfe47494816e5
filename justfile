# Daily work. Run `just` to list the recipes.

default:
    @just --list

# Install the project with everything that development needs.
install:
    python3 -m venv .venv
    .venv/bin/pip install -q -c constraints.txt -e '.[local,dev]'

# Run the quick tests, or those that you name.
test *ARGS:
    .venv/bin/pytest -n auto {{ARGS}}

# Run the slower tests as well: kills, browsers, faults.
test-all:
    .venv/bin/pytest -n auto
    .venv/bin/pytest -n auto -m 'slow or browser or hypothesis' --hypothesis-profile thorough
    .venv/bin/pytest -n 4 --dist loadfile -m chaos

# Format, lint and type-check.
lint:
    .venv/bin/ruff format .
    .venv/bin/ruff check .
    .venv/bin/mypy

# Start everything with sample data.
up:
    .venv/bin/apex up --demo

# Serve the documentation on this machine.
docs:
    .venv/bin/mkdocs serve

# Generate the reference pages from the code.
reference:
    .venv/bin/python -m apex_pipeline_tests.support.reference_pages

# Build sdist, wheel, bill of materials and sums into dist/: the same bytes each time.
release:
    rm -rf dist
    .venv/bin/hatchling build -d dist
    .venv/bin/cyclonedx-py requirements deploy/requirements.txt --pyproject pyproject.toml \
        --output-reproducible --of JSON -o dist/apex-pipeline.cdx.json
    cd dist && sha256sum * > SHA256SUMS

# Pin what the images install, with hashes, after a change of constraints.txt
image-requirements:
    just pin requirements.txt --extra emulator
    just pin requirements-kubernetes.txt --extra emulator --extra kubernetes

[private]
pin FILE *EXTRAS:
    uv pip compile pyproject.toml {{EXTRAS}} -c constraints.txt --universal \
        --python-version 3.11 --generate-hashes --no-header --no-annotate \
        -o deploy/{{FILE}}
