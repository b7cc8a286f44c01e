# Every errand of this repository. `make` alone lists them.

PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
CYCLES ?= 200
TARGET := $(or $(CARGO_TARGET_DIR),target)
LIBTORCH_DIR := $(or $(LIBTORCH),$(CURDIR)/.libtorch)
LIBRARIES = $(DESTDIR)$(PREFIX)/lib/forecastd
DOCS = $(DESTDIR)$(PREFIX)/share/doc/forecastd
# Units name what the distribution would install.
RELOCATE = sed 's\#/usr/\(bin\|share/doc\)/forecastd\#$(PREFIX)/\1/forecastd\#g'

.DEFAULT_GOAL := help
.PHONY: help libtorch build test demo bench bench-peers bench-networks bench-inference results public-data results-series results-networks kernel-patterns variations exactness torture endurance deny install clean

help: ## List what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

libtorch: ## Unpack libtorch for the CPU into .libtorch, 500 MB, unless LIBTORCH names one of your own
ifdef LIBTORCH
	@test -e "$(LIBTORCH)/lib/libtorch_cpu.so" || { echo "LIBTORCH=$(LIBTORCH) has no lib/libtorch_cpu.so" >&2; exit 1; }
else
	@python3 models/torch/libtorch.py .libtorch
endif

# A release build of forecastd-torch looks for its libraries in ../lib/forecastd (see models/torch/build.rs).
build: libtorch ## Build forecastd and forecastd-torch, optimised, into target/release
	cargo build --release --locked --workspace --bins
	@mkdir -p $(TARGET)/lib && ln -sfn "$(LIBTORCH_DIR)/lib" $(TARGET)/lib/forecastd

test: libtorch ## Set up and check everything; says at the end what was run and what was skipped
	@tests/all.sh

# Not optimised but for the mathematics (see [profile.dev.package]): a newcomer waits minutes less for the same show.
demo: ## Forecast this machine's own telemetry, or DATA=file.parquet; ends after DEMO_SECONDS=n, else with Ctrl-C
	cargo build --locked
	@$(TARGET)/debug/forecastd demo $(if $(DATA),--data "$(DATA)") $(if $(DEMO_SECONDS),--seconds $(DEMO_SECONDS))

bench: .venv/ready ## Measure the methods, the exposition, the daemon, and ourselves beside other people's software
	cargo bench --locked --bench '*'
	@.venv/bin/python benches/peers.py $(TARGET)/bench
	@$(MAKE) bench-networks

bench-peers: .venv/ready ## Measure ourselves beside other people's software only
	cargo bench --locked --bench peers
	@.venv/bin/python benches/peers.py $(TARGET)/bench

bench-networks: build .venv-torch/ready ## Measure networks, their search and training beside the same networks in PyTorch
	@mkdir -p $(TARGET)/bench
	@.venv-torch/bin/python benches/network_peers.py $(TARGET)/release/forecastd-torch $(TARGET)/bench

bench-inference: build .venv-torch/ready ## Measure a served network over HTTP beside the same one behind FastAPI and PyTorch
	@mkdir -p $(TARGET)/bench
	FORECASTD_TORCH=$(abspath $(TARGET))/release/forecastd-torch INFERENCE_ARTIFACT=$(abspath $(TARGET))/bench/inference \
		cargo bench --locked --bench inference
	@.venv-torch/bin/python benches/inference_peers.py $(TARGET)/release/forecastd $(TARGET)/release/forecastd-torch \
		$(TARGET)/bench/inference

results: results-series results-networks ## Write the accuracy on FORECASTD_DATA, the public data sets, into benches/RESULTS.md

public-data:
	@test -n "$(FORECASTD_DATA)" || { echo "FORECASTD_DATA does not name the folder of public data sets" >&2; exit 1; }

results-series: public-data ## Only that of forecasts, 6 minutes
	cargo build --release --locked --bin forecastd
	@mkdir -p $(TARGET)/bench
	@test -e $(TARGET)/bench/competition.json || { $(MAKE) .venv/ready && \
		.venv/bin/python benches/competition.py "$(FORECASTD_DATA)" $(TARGET)/bench/competition.json; }
	@python3 benches/results.py $(TARGET)/release/forecastd "$(FORECASTD_DATA)" $(TARGET)/bench

results-networks: public-data build ## Only that of networks, 90 minutes on two cores; ONLY="splice landsat" for some
	@python3 benches/dasha.py $(TARGET)/release/forecastd "$(FORECASTD_DATA)" $(TARGET)/bench $(if $(ONLY),--only $(ONLY))

kernel-patterns: public-data build ## Whether kernels found for a task agree across seeds, an hour; a picture and benches/RESULTS.md
	@python3 benches/kernel_patterns.py $(TARGET)/release/forecastd $(TARGET)/release/forecastd-torch \
		"$(FORECASTD_DATA)" $(TARGET)/bench/kernel_patterns

variations: public-data build ## What frames varied beyond the paper give, 10 minutes, into benches/RESULTS.md
	@python3 benches/variations.py $(TARGET)/release/forecastd $(TARGET)/release/forecastd-torch \
		"$(FORECASTD_DATA)" $(TARGET)/bench/variations

exactness: .venv/ready ## Hold the search for the order against statsmodels on a thousand channels nobody has seen
	@mkdir -p $(TARGET)
	.venv/bin/python tests/reference/order_search.py $(or $(FIRST),$(shell date +%s)) > $(TARGET)/order_search.txt
	ORDER_SEARCH=$(abspath $(TARGET))/order_search.txt cargo test --locked --package forecastd-models --test order_search

# Other people's software, pinned, beside the sources.
.venv/ready: benches/requirements.txt
	python3 -m venv .venv
	.venv/bin/pip install --quiet --requirement benches/requirements.txt
	@touch $@

# Apart from the others: it has gigabytes, of which a machine without a GPU needs few.
.venv-torch/ready: benches/requirements-torch.txt
	python3 -m venv .venv-torch
	.venv-torch/bin/pip install --quiet --requirement benches/requirements-torch.txt
	@touch $@

torture: ## Kill the daemon CYCLES=200 times at random instants and count its rows
	TORTURE_CYCLES=$(CYCLES) cargo test --release --locked --test main torture -- --nocapture

endurance: build ## Kill runs of DASHA and serving children, swap a thousand versions under load, watch memory, play the story of tiles
	LD_LIBRARY_PATH="$(LIBTORCH_DIR)/lib" cargo test --release --locked --package forecastd-torch --test dasha -- --ignored --nocapture
	FORECASTD_TORCH=$(abspath $(TARGET))/release/forecastd-torch \
		cargo test --release --locked --test main -- inference:: load:: tiles:: --ignored --nocapture --test-threads 1

deny: ## Check licences and advisories of all dependencies (needs cargo-deny)
	cargo deny --workspace check

install: build ## Install under DESTDIR and PREFIX=/usr/local: executables, libtorch, unit, users, folders, documents
	install -D -m 755 -t "$(DESTDIR)$(PREFIX)/bin" $(TARGET)/release/forecastd $(TARGET)/release/forecastd-torch
	install -d "$(dir $(LIBRARIES))"
ifdef LIBTORCH
	ln -sfn "$(LIBTORCH)/lib" "$(LIBRARIES)"
else
	install -D -m 644 -t "$(LIBRARIES)" .libtorch/lib/*.so*
	install -d "$(DOCS)"
	cp -r .libtorch/licenses "$(DOCS)/"
endif
	install -d "$(DESTDIR)$(PREFIX)/lib/systemd/system"
	$(RELOCATE) systemd/forecastd.service > "$(DESTDIR)$(PREFIX)/lib/systemd/system/forecastd.service"
	install -D -m 644 systemd/forecastd.sysusers "$(DESTDIR)$(PREFIX)/lib/sysusers.d/forecastd.conf"
	install -D -m 644 systemd/forecastd.tmpfiles "$(DESTDIR)$(PREFIX)/lib/tmpfiles.d/forecastd.conf"
	install -D -m 644 -t "$(DOCS)" README.md LICENSE-MIT LICENSE-APACHE systemd/alerts.yml config/forecastd.yaml
	install -d "$(DOCS)/forecastd.service.d"
	for example in systemd/forecastd.service.d/*.example; do $(RELOCATE) "$$example" > "$(DOCS)/forecastd.service.d/$${example##*/}" || exit; done
	@test -e "$(DESTDIR)$(SYSCONFDIR)/forecastd/forecastd.yaml" || echo "Next: write $(SYSCONFDIR)/forecastd/forecastd.yaml; the example lies in $(PREFIX)/share/doc/forecastd"

clean: ## Remove what was built and unpacked
	cargo clean
	rm -rf .libtorch .tools .venv .venv-clients .venv-torch
