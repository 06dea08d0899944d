//! `counterfoil models`: what there is, what this machine could host of it, and what the network covers.

mod coverage;
mod offer;
mod page;

use std::path::Path;

use counterfoil_ledger::tier_of;
use hyper::Method;
use serde_json::{Value, json};

use crate::args::ModelsArgs;
use crate::catalogue::Entry;
use crate::exit::{Failure, Outcome};
use crate::home::Running;
use crate::machine::Machine;
use crate::output;
use crate::target;
use coverage::Coverage;
use offer::{Size, sizes};

/// What was found out.
struct Found {
    machine: Machine,
    /// Bytes that experts may take here: what was said, or all memory that is available.
    memory: Option<u64>,
    router: Router,
    models: Vec<Model>,
}

/// The router, if one answers.
enum Router {
    Answers(String),
    Silent(String),
}

/// A model that is known, served, or both.
struct Model {
    entry: Option<Entry>,
    sizes: Vec<Size>,
    served: Option<Coverage>,
}

/// Looks around and prints it.
pub(crate) async fn run(home: &Path, args: &ModelsArgs, json: bool) -> Outcome {
    let machine = Machine::look(home)?;
    let memory = args.max_memory.map(|size| size.0).or(machine.memory);
    let (router, mut served) = ask(home, args).await?;
    let room = memory.map(|memory| memory.min(machine.disk.1));
    let mut models = Vec::new();
    for entry in Entry::all()? {
        let at = served.iter().position(|model| entry.is_served_as(&model.id));
        let served = at.map(|at| served.swap_remove(at));
        if args.purpose.is_none_or(|purpose| entry.about.tags.contains(&purpose)) {
            models.push(Model { sizes: sizes(&entry, room), entry: Some(entry), served });
        }
    }
    // Nobody has said what a model outside the catalogue is good for.
    if args.purpose.is_none() {
        models.extend(served.into_iter().map(|m| Model { entry: None, sizes: Vec::new(), served: Some(m) }));
    }
    let found = Found { machine, memory, router, models };
    if json {
        output::json(&found.to_json());
    } else {
        page::print(&found);
    }
    Ok(())
}

/// What a router serves. That none answers is no failure: the rest is known without one.
async fn ask(home: &Path, args: &ModelsArgs) -> Result<(Router, Vec<Coverage>), Failure> {
    let named = args.at.url.clone();
    let Some(url) = named.or_else(|| Running::read(home).map(|running| running.url)) else {
        let reason = format!("none runs on {} and --url names none", home.display());
        return Ok((Router::Silent(reason), Vec::new()));
    };
    let client = target::client(home, &args.at)?;
    Ok(match client.json(Method::GET, "/v1/models", None).await {
        Ok(answer) => (Router::Answers(url), Coverage::all(&answer)),
        Err(e) => (Router::Silent(e.to_string()), Vec::new()),
    })
}

impl Found {
    fn to_json(&self) -> Value {
        let (answers, url, reason) = match &self.router {
            Router::Answers(url) => (true, Some(url), None),
            Router::Silent(reason) => (false, None, Some(reason)),
        };
        json!({
            "machine": {
                "memory_available_bytes": self.machine.memory, "memory_counted_bytes": self.memory,
                "disk_free_bytes": self.machine.disk.1, "disk_folder": self.machine.disk.0,
                "tier": self.memory.map(tier_of),
            },
            "router": { "answers": answers, "url": url, "reason": reason },
            "models": self.models.iter().map(Model::to_json).collect::<Vec<_>>(),
        })
    }
}

impl Model {
    /// The same members for every model; what is not known is null.
    fn to_json(&self) -> Value {
        let about = self.entry.as_ref().map(|e| &e.about);
        let config = self.entry.as_ref().map(|e| &e.config);
        let shape = |known: Option<u64>, served: fn(&Coverage) -> Option<u64>| {
            known.or_else(|| self.served.as_ref().and_then(served))
        };
        json!({
            "name": self.name(), "in_catalogue": self.entry.is_some(),
            "title": about.map(|a| &a.title), "tags": about.map_or(&[][..], |a| &a.tags),
            "licence": about.map(|a| &a.licence), "licence_title": about.map(|a| &a.licence_title),
            "source": about.map(|a| &a.source),
            "family": config.map(|c| c.family.name()).or(self.served.as_ref().and_then(|s| s.family.as_deref())),
            "context": shape(config.map(|c| wide(c.context)), |s| s.context),
            "layers": shape(config.map(|c| c.layers.into()), |s| s.layers),
            "moe_layers": config.map(|c| c.moe_layers().len()),
            "experts_per_layer": shape(config.map(|c| c.experts.into()), |s| s.experts),
            "experts_per_token": shape(config.map(|c| wide(c.top_k)), |s| s.top_k),
            "parameters": self.entry.as_ref().map(|e| {
                let p = e.parameters();
                json!({
                    "total": p.total(), "active": p.active, "dense": p.dense, "experts": p.experts, "expert": p.expert,
                })
            }),
            "sizes": self.sizes.iter().map(Size::to_json).collect::<Vec<_>>(),
            "network": self.served.as_ref().map(Coverage::to_json),
        })
    }

    fn name(&self) -> &str {
        match (&self.entry, &self.served) {
            (Some(entry), _) => &entry.about.name,
            (None, Some(served)) => &served.id,
            (None, None) => "",
        }
    }
}

fn wide(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
