//! The endpoint held against Prometheus itself.

use std::fs;
use std::process::{Child, Command, Stdio};

use crate::support::{Daemon, Environment, data, tools, try_get, wait_for};

struct Prometheus {
    child: Child,
    port: u16,
}

impl Prometheus {
    /// A real Prometheus that scrapes the daemon every second.
    fn scraping(environment: &Environment, daemon: &Daemon) -> Option<Self> {
        let program = tools::find("prometheus")?;
        let port = tools::free_port();
        let config = environment.path("prometheus.yml");
        let target = daemon.address();
        let jobs =
            format!("scrape_configs: [{{ job_name: forecastd, static_configs: [{{ targets: ['{target}'] }}] }}]");
        fs::write(&config, format!("global: {{ scrape_interval: 1s }}\n{jobs}\n")).unwrap();
        let child = Command::new(program)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", environment.path("tsdb").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stderr(fs::File::create(environment.path("prometheus.log")).unwrap())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Some(Self { child, port })
    }

    /// The results of an instant query.
    fn query(&self, query: &str) -> Vec<serde_json::Value> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let path = format!("/api/v1/query?query={encoded}");
        let Ok((200, body)) = try_get(([127, 0, 0, 1], self.port).into(), &path) else {
            return Vec::new();
        };
        let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
        answer["data"]["result"].as_array().cloned().unwrap_or_default()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_real_prometheus_scrapes_the_forecasts_and_answers_queries_on_them() {
    let Some(file) = data("timeseries/ETTh1.parquet") else {
        return;
    };
    let more = "forecast: { horizon: 96, steps: [1, 24, 96] }";
    let environment = Environment::with_datasets(&Environment::dataset("etth1", "{ time: date }", more));
    let daemon = environment.start();
    environment.drop_into("etth1", "ETTh1.parquet", &fs::read(file).unwrap());
    let page = daemon.scrape_until("21 forecasts", |page| page.count("forecastd_forecast") == 21);
    let Some(prometheus) = Prometheus::scraping(&environment, &daemon) else {
        return;
    };

    let results = wait_for("Prometheus to have scraped", || {
        Some(prometheus.query(r#"forecastd_forecast{channel="OT",step="24"}"#)).filter(|results| !results.is_empty())
    });
    let [result] = results.as_slice() else {
        panic!("{results:#?}")
    };
    let value: f64 = result["value"][1].as_str().unwrap().parse().unwrap();
    let shown = page.get(
        "forecastd_forecast",
        &[("dataset", "etth1"), ("channel", "OT"), ("step", "24")],
    );
    assert_eq!(Some(value), shown);
    let up = prometheus.query("up");
    assert_eq!(up[0]["value"][1], "1", "the whole scrape succeeded");
    let conserved = "sum(forecastd_rows_seen_total) - sum(forecastd_rows_committed_total) - \
                     sum(forecastd_rows_duplicate_total) - sum(forecastd_rows_rejected_total)";
    assert_eq!(prometheus.query(conserved)[0]["value"][1], "0");
}

#[test]
fn promtool_has_nothing_to_say_about_a_page_with_everything_on_it() {
    let Some(file) = data("timeseries/ETTh1.parquet") else {
        return;
    };
    let environment =
        Environment::with_datasets(&Environment::dataset("d", "{ time: date }", "forecast: { horizon: 3 }"));
    let daemon = environment.start();
    environment.drop_bytes("a.parquet", &fs::read(file).unwrap());
    environment.drop_bytes("text.parquet", b"not parquet");
    daemon.after_drops(2);
    daemon.at_rest();
    let (_, page) = daemon.get("/metrics");
    if let Some(said) = tools::promtool_check(&page) {
        assert_eq!(said, "");
    }
}
