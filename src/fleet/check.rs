//! The check of everything, before any thread: the settings of the fleet, and what its clients may not have in
//! common. Each rule names the client and the field.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use crate::{
    client::{copies::Copies, spec::ClientSpec},
    fleet::{
        check_client::{check_functions, check_identity, check_settings},
        config::{FleetConfig, LEAST_STACK},
        error::{Checked, LONGEST, Problem, StartError, at, duration, in_range},
    },
    spec::{address::Listener, template, topic::check_filter},
};

/// Checks what a fleet is to be. What comes out has its placeholders filled in.
pub(crate) fn check(config: &FleetConfig) -> Result<Vec<ClientSpec>, StartError> {
    check_fleet(config).map_err(|(field, problem)| StartError::Fleet { field, problem })?;
    if config.specs.is_empty() {
        return Err(StartError::NoClient);
    }
    let run = fastrand::u64(..);
    let mut specs = Vec::with_capacity(config.specs.len());
    let mut names = HashSet::new();
    let mut ids: HashMap<(Listener, String), String> = HashMap::new();
    for spec in &config.specs {
        let fault = |(field, problem)| StartError::Client {
            client: spec.settings.name.clone(),
            field,
            problem,
        };
        check_shard(spec.shard).map_err(fault)?;
        // Such a template gives its first copy only.
        let copies = spec.copy.1 / spec.shard.1;
        in_range(
            "times",
            copies,
            0..=Copies::MOST,
            "at most 1,000,000 copies on a machine",
        )
        .map_err(fault)?;
        // With which session a client id was given is seen before one is made up.
        check_identity(&spec.settings).map_err(fault)?;
        let mut spec = spec.clone();
        for (filter, _) in &mut spec.handlers {
            *filter = template::name(filter, &spec.settings.name);
        }
        spec.settings = spec.settings.named(run);
        check_settings(&spec.settings).map_err(fault)?;
        check_functions(&spec).map_err(fault)?;
        let settings = &spec.settings;
        if !names.insert(settings.name.clone()) {
            let problem = Problem::Duplicate {
                value: settings.name.clone(),
                other: settings.name.clone(),
            };
            return Err(fault(("name", problem)));
        }
        let id = settings.client_id.clone().unwrap_or_default();
        for broker in &settings.brokers {
            let key = (broker.address().listener(), id.clone());
            // The broker would end the one when the other connects [MQTT-3.1.4-2]. One client may
            // name a broker twice, with other credentials.
            match ids.insert(key, settings.name.clone()) {
                Some(other) if other != settings.name => {
                    return Err(fault((
                        "client_id",
                        Problem::Duplicate { value: id, other },
                    )));
                }
                _ => {}
            }
        }
        specs.push(spec);
    }
    Ok(specs)
}

fn check_fleet(config: &FleetConfig) -> Checked {
    for (filter, _) in &config.handlers {
        at("on_message", check_filter(filter))?;
        if template::has_name(filter) || template::has_number(filter) {
            let problem = "a handler of the fleet has no {i} and no {name}: write '+', or attach it to the client";
            return Err(("on_message", Problem::Text(problem)));
        }
    }
    let handlers =
        !config.handlers.is_empty() || config.specs.iter().any(|spec| !spec.handlers.is_empty());
    match config.workers {
        Some(0) if handlers => {
            return Err((
                "workers",
                Problem::Text("handlers need at least one worker"),
            ));
        }
        Some(1..) if !handlers => {
            return Err((
                "workers",
                Problem::Text("there is no handler: workers would take messages and do nothing"),
            ));
        }
        Some(workers) => in_range("workers", workers, 0..=100_000, "0 to 100,000")?,
        None => {}
    }
    in_range(
        "queue_capacity",
        config.queue_capacity,
        1..=usize::MAX,
        "at least 1",
    )?;
    in_range(
        "queue_bytes",
        config.queue_bytes,
        1..=usize::MAX,
        "at least 1",
    )?;
    let repeat = config.on_failure.repeat();
    for pause in [repeat.shortest, repeat.longest] {
        let range = Duration::ZERO..=LONGEST;
        duration("on_failure", pause, range, "at most a year")?;
    }
    if repeat.shortest > repeat.longest {
        let problem = "its first pause exceeds its longest";
        return Err(("on_failure", Problem::Text(problem)));
    }
    if let Some(rate) = config.connect_rate {
        in_range("connect_rate", rate, 1..=u32::MAX, "at least 1")?;
    }
    in_range("publishers", config.publishers, 1..=1_000, "1 to 1,000")?;
    let most = 1024 * 1024 * 1024;
    let allowed = match LEAST_STACK {
        0..=131_072 => "131,072 to 1,073,741,824 bytes (128 KiB to 1 GiB)",
        _ => {
            "524,288 to 1,073,741,824 bytes (512 KiB to 1 GiB), with the features tls or websocket"
        }
    };
    in_range("stack_size", config.stack_size, LEAST_STACK..=most, allowed)?;
    in_range(
        "worker_stack_size",
        config.worker_stack_size,
        128 * 1024..=most,
        "131,072 to 1,073,741,824 bytes (128 KiB to 1 GiB)",
    )
}

fn check_shard((k, of): (usize, usize)) -> Checked {
    if k < of {
        return Ok(());
    }
    let problem = Problem::OutOfRange {
        given: format!("{k} of {of}"),
        allowed: "shards are counted from 0 to one less than there are",
    };
    Err(("shard", problem))
}
