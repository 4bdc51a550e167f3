//! The figures for Prometheus.

use std::fmt;

use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use obvert_engine::model::Usage;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::State;
use crate::board::{Board, Stage};

/// As OpenMetrics says.
const KIND: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// `GET /metrics`
pub(super) async fn metrics(state: State) -> impl IntoResponse {
    ([(CONTENT_TYPE, KIND)], exposed(state.latest.now().board))
}

fn exposed(board: Board) -> String {
    let (mut registry, mut text) = (Registry::default(), String::new());
    registry.register_collector(Box::new(Figures(board)));
    // A text in memory can always be written to.
    let _ = encode(&mut text, &registry);
    text
}

#[derive(Debug)]
struct Figures(Board);

/// A figure: its name, what it is, and its value for each thing that has one.
struct Figure<'a> {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    values: Vec<(Vec<(&'static str, &'a str)>, f64)>,
}

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Figures(board) = self;
        for figure in [of_run(board), of_stages(board), of_models(board), of_trainings(board)].into_iter().flatten() {
            let mut metric = encoder.encode_descriptor(figure.name, figure.help, None, figure.kind)?;
            for (labels, value) in figure.values {
                let family = metric.encode_family(&labels)?;
                match figure.kind {
                    MetricType::Counter => ConstCounter::new(value).encode(family)?,
                    _ => ConstGauge::new(value).encode(family)?,
                }
            }
        }
        Ok(())
    }
}

fn of_run(board: &Board) -> Vec<Figure<'_>> {
    let gauge = |name, help, value| Figure {
        name,
        help,
        kind: MetricType::Gauge,
        values: vec![(vec![("run", board.name.as_str())], value)],
    };
    vec![
        gauge("obvert_run_going", "Whether the run goes on.", f64::from(u8::from(board.state.goes_on()))),
        gauge("obvert_run_elapsed_seconds", "Time since its beginning.", board.elapsed_s()),
    ]
}

fn of_stages(board: &Board) -> Vec<Figure<'_>> {
    let figure = |name, help, kind, of: fn(&Stage) -> f64| {
        let value = |stage: &'_ Stage| of(stage);
        let values = board.stages.iter().map(|stage| (vec![("stage", stage.count.name.as_str())], value(stage)));
        Figure { name, help, kind, values: values.collect() }
    };
    use MetricType::{Counter, Gauge};
    // Items are net of retractions: they may go down.
    vec![
        figure("obvert_stage_items", "Items taken in.", Gauge, |stage| stage.count.inputs as f64),
        figure("obvert_stage_done", "Items handled to the end.", Gauge, |stage| stage.count.done as f64),
        figure("obvert_stage_rejected", "Items set aside.", Gauge, |stage| stage.count.rejected as f64),
        figure("obvert_stage_waiting", "Items taken in and not done with.", Gauge, |stage| stage.waiting() as f64),
        figure("obvert_stage_records", "Records made.", Gauge, |stage| stage.count.outputs as f64),
        figure("obvert_stage_calls", "Model calls made.", Counter, |stage| stage.count.calls as f64),
        figure("obvert_stage_memo_hits", "Model calls answered from the memo.", Counter, |stage| {
            stage.count.memo_hits as f64
        }),
        figure("obvert_stage_busy_seconds", "Time that workers spent in it.", Counter, |stage| stage.count.busy_s),
        figure("obvert_stage_blocked_seconds", "Time in which a source could not let a row in.", Counter, |stage| {
            stage.count.blocked_s
        }),
    ]
}

fn of_models(board: &Board) -> Vec<Figure<'_>> {
    let now = |name, help, of: fn(&obvert_engine::ModelCount) -> usize| {
        let values = board.models.iter().map(|model| (vec![("model", model.name.as_str())], of(model) as f64));
        Figure { name, help, kind: MetricType::Gauge, values: values.collect() }
    };
    let sum = |name, help, of: fn(&Usage) -> f64| {
        let by_stage =
            board.models.iter().flat_map(|model| model.usage.iter().map(move |(stage, usage)| (model, stage, usage)));
        let values = by_stage
            .map(|(model, stage, usage)| (vec![("model", model.name.as_str()), ("stage", &**stage)], of(usage)));
        Figure { name, help, kind: MetricType::Counter, values: values.collect() }
    };
    vec![
        now("obvert_model_queued", "Calls that wait for the model.", |model| model.queued),
        now("obvert_model_in_flight", "Calls that are with the model.", |model| model.in_flight),
        sum("obvert_model_calls", "Calls that it answered.", |usage| usage.calls as f64),
        sum("obvert_model_failures", "Calls that failed, each attempt counted.", |usage| usage.failures as f64),
        sum("obvert_model_prompt_tokens", "Tokens read in calls.", |usage| usage.prompt_tokens as f64),
        sum("obvert_model_reply_tokens", "Tokens written in calls.", |usage| usage.reply_tokens as f64),
        sum("obvert_model_cost", "What calls cost, in the unit of the model's price.", |usage| usage.cost),
    ]
}

fn of_trainings(board: &Board) -> Vec<Figure<'_>> {
    let updates =
        board.trainings.iter().map(|(stage, training)| (vec![("stage", stage.as_str())], training.of.updates as f64));
    let metrics = board.trainings.iter().flat_map(|(stage, training)| {
        training
            .last
            .iter()
            .map(move |(name, value)| (vec![("stage", stage.as_str()), ("metric", name.as_str())], *value))
    });
    vec![
        Figure {
            name: "obvert_training_updates",
            help: "Updates made.",
            kind: MetricType::Gauge,
            values: updates.collect(),
        },
        Figure {
            name: "obvert_training_metric",
            help: "The newest value of what is logged.",
            kind: MetricType::Gauge,
            values: metrics.collect(),
        },
    ]
}

#[cfg(test)]
mod tests {
    use obvert_engine::{ModelCount, StageCount};

    use super::*;

    #[test]
    fn figures_are_told_as_prometheus_reads_them() {
        let count = StageCount { name: "re\"spond".into(), inputs: 12, done: 2, calls: 3, ..StageCount::default() };
        let usage = [("respond".into(), Usage { calls: 3, cost: 0.5, ..Usage::default() })].into();
        let models = vec![ModelCount { name: "policy".into(), queued: 7, usage, ..ModelCount::default() }];
        let text = exposed(Board {
            name: "tea".into(),
            stages: vec![Stage { count, ..Stage::default() }],
            models,
            ..Board::default()
        });
        for line in [
            "obvert_run_going{run=\"tea\"} 1.0",
            "obvert_stage_waiting{stage=\"re\\\"spond\"} 10.0",
            "obvert_stage_calls_total{stage=\"re\\\"spond\"} 3.0",
            "obvert_model_queued{model=\"policy\"} 7.0",
            "obvert_model_cost_total{model=\"policy\",stage=\"respond\"} 0.5",
        ] {
            assert!(text.lines().any(|shown| shown == line), "no {line} in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
