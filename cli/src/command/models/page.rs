//! What `counterfoil models` prints for people.

use counterfoil_ledger::tier_of;

use super::coverage::{Coverage, Hosted};
use super::{Found, Model, Router};
use crate::catalogue::Use;
use crate::output;
use crate::size::{ByteSize, count};

/// Prints the machine, the router, the models, and their sizes.
pub(super) fn print(found: &Found) {
    output::line(&format!("machine  {}", machine(found)));
    output::line(&match &found.router {
        Router::Answers(url) => format!("router   {url}"),
        Router::Silent(why) => format!("router   no answer, so what the network covers is not known: {why}"),
    });
    output::line("");
    let heads = ["model", "for", "parameters (active)", "experts", "licence", "source", "network"];
    let answers = matches!(found.router, Router::Answers(_));
    output::table(&heads, &found.models.iter().map(|m| row(m, answers)).collect::<Vec<_>>());
    let sized: Vec<_> = found.models.iter().flat_map(size_rows).collect();
    if !sized.is_empty() {
        output::line("");
        let heads =
            ["at", "", "expert", "layer", "dense", "in all", "experts here", "layers here", "router here"];
        output::table(&heads, &sized);
    }
    for model in &found.models {
        if let Some(line) = model.served.as_ref().and_then(|served| coverage(model.name(), served)) {
            output::line("");
            output::line(&line);
        }
    }
    output::line("");
    output::line(
        "A node holds experts; a router holds the dense part. `counterfoil serve` takes half of the available memory unless --max-memory says otherwise.",
    );
}

fn machine(found: &Found) -> String {
    let memory = match (found.memory, found.machine.memory) {
        (Some(counted), available) if available != Some(counted) => {
            format!("counted with {} of memory", ByteSize(counted))
        }
        (Some(counted), _) => format!("{} of memory available", ByteSize(counted)),
        (None, _) => "memory not known (say how much with --max-memory)".to_owned(),
    };
    let tier = found.memory.map(|m| format!("; tier {} with all of that memory", tier_of(m)));
    let (folder, free) = &found.machine.disk;
    format!("{memory}, {} of disk free in {}{}", ByteSize(*free), folder.display(), tier.unwrap_or_default())
}

fn row(model: &Model, answers: bool) -> Vec<String> {
    let network = match &model.served {
        Some(served) if served.available => "available".to_owned(),
        Some(served) => served.reason.clone().unwrap_or_else(|| "not available".to_owned()),
        None if answers => "not served".to_owned(),
        None => "-".to_owned(),
    };
    let Some(entry) = &model.entry else {
        let experts = model.served.as_ref().map_or_else(|| "-".to_owned(), shape);
        let unknown = || "-".to_owned();
        return vec![model.name().to_owned(), unknown(), unknown(), experts, unknown(), unknown(), network];
    };
    let (about, config, sum) = (&entry.about, &entry.config, entry.parameters());
    vec![
        about.name.clone(),
        about.tags.iter().map(|tag| Use::name(*tag)).collect::<Vec<_>>().join(", "),
        format!("{} ({})", count(sum.total()), count(sum.active)),
        format!("{} of {} in {} layers", config.top_k, config.experts, config.moe_layers().len()),
        about.licence.clone(),
        about.source.clone(),
        network,
    ]
}

/// The shape of a model that only the router knows.
fn shape(served: &Coverage) -> String {
    let number = |n: Option<u64>| n.map_or_else(|| "?".to_owned(), |n| n.to_string());
    format!("{} of {} in {} layers", number(served.top_k), number(served.experts), number(served.layers))
}

fn size_rows(model: &Model) -> Vec<Vec<String>> {
    let row = |(at, size): (usize, &super::Size)| {
        let bytes = |n: u64| ByteSize(n).to_string();
        let here = |say: fn(&super::offer::Host) -> String| size.host.as_ref().map_or("?".to_owned(), say);
        vec![
            if at == 0 { model.name().to_owned() } else { String::new() },
            size.quant.to_owned(),
            bytes(size.bytes.expert),
            bytes(size.layer()),
            bytes(size.bytes.dense),
            bytes(size.bytes.total()),
            here(|h| part(h.experts, h.experts_in_all)),
            here(|h| part(h.layers, h.layers_in_all)),
            here(|h| match (h.dense, h.whole) {
                (_, true) => "yes, with all experts".to_owned(),
                (true, false) => "yes".to_owned(),
                (false, false) => "no".to_owned(),
            }),
        ]
    };
    model.sizes.iter().enumerate().map(row).collect()
}

fn part(some: u64, all: u64) -> String {
    if some == all { format!("all {all}") } else { format!("{some} of {all}") }
}

/// How a model's experts are spread, where the router says so.
fn coverage(name: &str, served: &Coverage) -> Option<String> {
    let Hosted { experts, experts_in_all, replicas_min, replicas_median, nodes, .. } = &served.hosted;
    let (experts, all) = (experts.as_ref()?, experts_in_all.as_ref()?);
    let mut line = format!("{name}: {experts} of {all} experts hosted");
    if let (Some(least), Some(median)) = (replicas_min, replicas_median) {
        line.push_str(&format!(", each by at least {least} nodes (median {median})"));
    }
    if let Some(nodes) = nodes {
        line.push_str(&format!(", on {nodes} nodes in all"));
    }
    let missing = served.hosted.missing.unwrap_or_else(|| all.saturating_sub(*experts));
    if missing > 0 {
        let named: Vec<String> =
            served.hosted.missing_first.iter().map(|(layer, expert)| format!("{layer}/{expert}")).collect();
        let more = if named.len() < usize::try_from(missing).unwrap_or(usize::MAX) { ", …" } else { "" };
        line.push_str(&format!("; {missing} missing (layer/expert): {}{more}", named.join(", ")));
    }
    Some(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_missing_is_named() {
        let answer = json!({ "data": [{ "id": "dbrx", "hosted": {
            "experts": 637, "experts_in_all": 640, "missing": 3, "missing_first": [[3, 0], [39, 15]],
            "replicas_min": 0, "replicas_median": 2, "nodes": 5,
        }}]});
        let said = Coverage::all(&answer).first().and_then(|served| coverage("dbrx", served));
        assert_eq!(
            said.as_deref(),
            Some(
                "dbrx: 637 of 640 experts hosted, each by at least 0 nodes (median 2), on 5 nodes in all; 3 missing (layer/expert): 3/0, 39/15, …"
            )
        );
        let silent = Coverage::all(&json!({ "data": [{ "id": "dbrx", "available": true }] }));
        assert_eq!(silent.first().and_then(|served| coverage("dbrx", served)), None);
    }
}
