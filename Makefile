# The short names of every chore. Each sets up what it needs; a second run does no set-up again.
#   make setup [DEVICE=cuda] [LIBTORCH=/path/to/torch]

PREFIX ?= /usr/local
PYTHON ?= python3
DTYPES ?= float32
SWIFT_BUILD = swift build -c release
CODE = Package.swift Snippets Sources Tests

.PHONY: setup networks build test test-page lint format bench demo train-demo install docs clean

setup:
	@DEVICE="$(DEVICE)" LIBTORCH="$(LIBTORCH)" PYTHON="$(PYTHON)" Scripts/setup.sh
	@PYTHON="$(PYTHON)" Scripts/feature_networks.sh || echo "setup: 'make networks' tries that again; all else works without"

networks:
	@PYTHON="$(PYTHON)" Scripts/feature_networks.sh

build: setup
	$(SWIFT_BUILD)

test: setup
	swift test

# Needs Chromium with its driver, and selenium and axe-selenium-python from PyPI.
test-page: setup
	swift build --product mvar
	$(PYTHON) Scripts/test-page.py "$$(swift build --show-bin-path)/mvar"

lint:
	swift format lint --strict --recursive $(CODE)

format:
	swift format --in-place --recursive $(CODE)

demo: build
	Scripts/demo.sh "$$($(SWIFT_BUILD) --show-bin-path)/mvar"

train-demo: build
	Scripts/train-demo.sh "$$($(SWIFT_BUILD) --show-bin-path)/mvar"

bench: build
	PYTHON="$(PYTHON)" DTYPES="$(DTYPES)" Scripts/bench.sh "$$($(SWIFT_BUILD) --show-bin-path)/mvar"

install: build
	Scripts/install.sh "$$($(SWIFT_BUILD) --show-bin-path)" "$(PREFIX)"

clean:
	rm -rf .build
