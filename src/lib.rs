//! Many blocking MQTT clients in one process.
//!
//! Each client of a [`Fleet`] has an OS thread of its own, which runs rumqttc with a bounded
//! retry: three attempts, then that thread ends and the others run on. Three attempts last
//! through the restart of a broker, not through an outage of minutes: a program that runs for
//! months asks for [`Retry::forever`]. Received messages go through crossbeam queues to worker
//! threads that call your handlers, or to your own loop.
//! Nothing async shows. For gateways between brokers, fleets of simulated devices, stress tests,
//! and any blocking program that talks to several brokers at once and has to stop cleanly.
//!
//! A gateway that carries temperatures from one broker to another:
//!
//! ```
//! use std::time::Duration;
//! use mqtt_fleet::{ClientSpec, Fleet, OnFailure, QoS, Retry, Session, testing::TestBroker};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let (plant_broker, cloud_broker) = (TestBroker::start()?, TestBroker::start()?);
//! # let (plant_url, cloud_url) = (plant_broker.url(), cloud_broker.url());
//! // With urls such as "mqtt://10.0.0.5":
//! let plant = ClientSpec::new("plant", plant_url)
//!     .retry(Retry::forever()) // for months; without it three attempts for each outage
//!     .client_id("gateway-plant")
//!     .session(Session::Kept) // the broker keeps what is not acknowledged
//!     .subscribe("temp/+", QoS::AtLeastOnce);
//! let cloud = ClientSpec::new("cloud", cloud_url).retry(Retry::forever());
//! let fleet = Fleet::builder()
//!     .client(plant)
//!     .client(cloud)
//!     .on_message("temp/+", |message, clients| {
//!         // Waits while the outbox is full: then the plant's broker has to wait too.
//!         let cloud = clients.get("cloud")?;
//!         cloud.publish(message.topic(), QoS::AtLeastOnce, false, message.payload())?;
//!         Ok(())
//!     })
//!     .on_failure(OnFailure::StopFleet) // what was not taken is not acknowledged
//!     .start()?; // or `.run()?`: until Ctrl-C, then the report
//! fleet.wait_subscribed(Duration::from_secs(5))?;
//!
//! # plant_broker.publish("temp/7", QoS::AtLeastOnce, false, "21.5")?;
//! # let arrived = |_: &[_]| cloud_broker.published("temp/7") == ["21.5"];
//! # cloud_broker.wait_for(arrived, Duration::from_secs(5))?;
//! let report = fleet.stop(Duration::from_secs(5));
//! println!("{report}");
//! assert_eq!(report.exit_code(), 0);
//! # Ok(())
//! # }
//! ```
//!
//! While the cloud is away nothing is lost: its outbox fills, then `publish` waits, and the plant's
//! broker keeps the rest. **A message is acknowledged to the plant once it is in the outbox, which is
//! memory: a crash, or a stop while the cloud is away, loses what the outbox holds, up to 1,000
//! messages.** The report of a stop counts them as lost. The example `gateway` acknowledges a message
//! only when the cloud has, and loses none of them.
//!
//! # Threads
//!
//! One for each client, the workers, the publisher threads, and the caller's:
//! [`Fleet::threads`] counts them. The signal handler of [`FleetBuilder::run`] and
//! [`Fleet::stop_on_signal`] lives on a thread of its own, which belongs to the process
//! and is not counted.
//!
//! | thread | how many | runs |
//! |---|---|---|
//! | the client's name | one for each client | the connection, TLS included; the name look-up; the function of [`ClientSpec::credentials_with`] |
//! | rumqttc's, not counted | one for each client with `mqtts://` and a host name or an IPv6 address, for 10 s after each connect | a second look-up of that name |
//! | `worker-0`, … | [`FleetBuilder::workers`] if there is a handler, else none | handlers, the dead-letter function; the first one also the state callback |
//! | `publisher`, or `publisher-0`, … | [`FleetBuilder::publishers`] if there are pub functions, else none | pub functions; in a fleet without workers, the first one also the state callback, for which it is made if need be |
//!
//! What is slow harms what shares its thread and nothing else. A handler holds up its lane: the
//! messages whose client and topic fall to the same worker. A pub function holds up the pub
//! functions of its publisher thread. None of them delays a connection or its keep alive.
//!
//! What blocks is said in its name: `x` waits, `try_x` never does, `x_timeout` takes a
//! [`Duration`](std::time::Duration). [`Client::publish`] waits for room in the outbox;
//! subscribing, unsubscribing and stopping a client never wait. In pub functions, use
//! [`Client::try_publish`]. In a handler, `publish` holds up its lane while the outbox is full, and
//! with it the broker that the messages come from; an error of `try_publish` that a handler returns
//! is a failure, after which the message is acknowledged all the same unless [`OnFailure`] stops the
//! client.
//!
//! [`Fleet`], [`Client`], [`Clients`], [`StopHandle`], [`Messages`] and [`StateChanges`] can be
//! used from any thread. All but the fleet are cheap clones of something shared; only dropping
//! the [`Fleet`] stops it. No function of yours is called with a lock of this crate held.
//!
//! `docs/THREADS.md` has what may block on which thread, and what follows each failure.
//!
//! # Many clients of one kind
//!
//! [`ClientSpec`] is data that can be cloned. [`ClientSpec::times`] makes a template of it: `{i}` and
//! `{name}` are filled in, in every text of the spec; [`Copies::shard`] takes this machine's
//! part. With the feature `files`, `SpecFile` reads specs, templates included.
//!
//! [`ClientSpec::publish_every`] gives each copy a pub function with state of its own, called while
//! it is connected; the copies are spread over the interval. A moment that is missed is left out, and
//! [`Fleet::lateness`] tells how well the schedule was kept ([`Lateness`]).
//!
//! ```
//! use std::time::Duration;
//! use mqtt_fleet::{ClientSpec, QoS};
//!
//! let devices = ClientSpec::new("dev-{i}", "mqtt://10.0.0.5")
//!     .client_id("plant-7-dev-{i}")
//!     .subscribe("devices/{name}/command", QoS::AtLeastOnce)
//!     .publish_every(Duration::from_secs(1), |device| {
//!         let topic = format!("devices/{}/reading", device.name());
//!         device.try_publish(topic, QoS::AtMostOnce, false, "21.5")?;
//!         Ok(())
//!     })
//!     .times(200);
//! assert_eq!(devices.len(), 200);
//! ```
//!
//! # Messages and acknowledgement
//!
//! A message of QoS 1 or 2 is acknowledged when it is dropped: in a handler, after the last
//! handler that matched has returned, whether it succeeded or not, and also if none matched; in
//! [`Messages`], when your loop lets go of it. Only where a failure stops its client
//! ([`OnFailure::StopClient`], [`OnFailure::StopFleet`]) the connection ends first. So a crash
//! between receipt and handling loses nothing that the broker keeps.
//!
//! - Acknowledgements leave in the order of receipt [MQTT-4.6.0-2]: those of one client wait for
//!   its oldest message in hand, and for 200 µs at most for company. The broker's in-flight window
//!   is the back-pressure; a handler that is stuck, or a [`Message`] that you keep, stops the flow
//!   of its client in time.
//! - An acknowledgement belongs to the connection that its message came on. After a loss it is
//!   not sent at all, and a broker that kept the session sends the message again, with
//!   [`Message::duplicate`] set: handlers must bear that.
//! - The order of messages is kept for each client and topic, unless
//!   [`FleetBuilder::unordered`] gives it up.
//! - QoS 0 may be lost: each client has an equal share of [`FleetBuilder::queue_capacity`] and of
//!   [`FleetBuilder::queue_bytes`], and what exceeds one of them is dropped and counted in
//!   [`Stats::dropped`]. QoS 1 and 2 are always taken.
//! - An error or a panic of a handler is logged and counted; see [`OnFailure`].
//!
//! Without a handler there are no workers, and [`Fleet::messages`] has what was received. If
//! nobody takes it from there, QoS 0 is dropped beyond the share, and the broker stops sending
//! QoS 1 and 2 when its window is full.
//!
//! # Publishing
//!
//! `Ok` from [`Client::publish`] and its kin means that the message is in the client's outbox: a
//! bounded queue ([`ClientSpec::outbox_capacity`]) that outlives connections. From then on it ends
//! in exactly one bucket of the [`Ledger`], and the [`Receipt`] says in which: acknowledged (QoS 1
//! and 2), sent (QoS 0), expired, dropped, failed, or unsent. `docs/GUARANTEES.md` has the whole
//! table.
//!
//! - While the client is not connected the outbox fills, or refuses ([`ClientSpec::offline`]).
//!   When it is full, `publish` waits, `try_publish` fails with [`PublishErrorKind::Full`], and the
//!   error gives the message back; or the oldest one is dropped
//!   ([`ClientSpec::outbox_overflow`]).
//! - Messages leave in the order in which they were taken. At most [`ClientSpec::window`] of QoS
//!   1 and 2 are unacknowledged at once; the others wait behind them. What waits is written
//!   together, with one call of the system for up to 7,000 bytes.
//! - After a reconnect, unacknowledged messages are sent again before what waits in the outbox:
//!   with a session under the same identifier and marked as duplicates, without one as new
//!   ([`ClientSpec::replay`]). A QoS 0 message that was being written when the connection broke
//!   ends as failed: it must not be repeated.
//! - [`ClientSpec::birth`] follows each CONNACK, behind SUBSCRIBE and before everything else.
//! - What is in the outbox when a client ends that is not connected is not sent; a stop empties the
//!   others: see [`Fleet::stop`].
//! - Topic and payload are a `&str` and bytes in any form ([`Payload`]). A [`Publish`] is the whole message
//!   as one value, for [`Client::send`].
//! - Topics and packet sizes are checked at the call: [`PublishErrorKind::Topic`],
//!   [`PublishErrorKind::TooLarge`].
//!
//! # Transports
//!
//! The scheme of a broker's URL says what is spoken: see the table of [`Broker`]. [`Tls`] says whom
//! a client trusts and what it shows; clients with equal settings share one configuration, which is
//! loaded once, at the start. A certificate that is not accepted, on this or on that side, is a
//! permanent refusal, and its text says whose certificate it is and what is wrong. Other failures
//! of TLS, and all of WebSocket, are failed attempts.
//!
//! A client may have several brokers ([`ClientSpec::or_broker`]): each attempt goes to the next one.
//!
//! # Retry
//!
//! [`Retry`] counts attempts for each outage, three by default. An attempt is a connect that
//! failed, or a connection that ended before it was stable: 5 s old
//! ([`Retry::stable_after`]), with an answer to every SUBSCRIBE. Losing a stable connection costs
//! no attempt, gives all of them back, and is followed by a pause like the first failure.
//!
//! - Before the next attempt there is a pause of a random length: 1.5 s to 3 s after the first
//!   failure, and doubled with each further one to 30 s at most ([`Retry::pause`]). So with the
//!   defaults no client ends because its broker is away for 3 s. After the last failure there is
//!   no pause: the client ends with [`Outcome::RetriesExhausted`].
//! - A permanent refusal ([`Outcome::Refused`]: credentials, client id, protocol version;
//!   [`Outcome::Certificate`]) and a peer that does not speak MQTT ([`Outcome::NotMqtt`]) end the
//!   client at once. The latter only before its first connection; afterwards it is a failed
//!   attempt. With several brokers they leave out this one, until a stable connection to another
//!   one is lost.
//! - [`Retry::forever`] never gives up, [`Retry::refusals_too`] retries refusals, and
//!   [`FleetBuilder::connect_rate`] paces the connects of the whole fleet.
//! - Host names are looked up before each attempt, which then begins with the next address. With
//!   `mqtts://` an attempt is made by name, and rumqttc goes through its addresses in the order of
//!   the name service. When that times out, the next attempts go to the addresses themselves, each
//!   in turn; the certificate must be for the name there too. A broker is told no name then (no
//!   SNI), so one that needs it refuses: such an attempt never ends the client for good, and the
//!   next one is made by name again.
//!
//! What a broker may not send, and what exceeds [`ClientSpec::max_packet_size`], ends the
//! connection with a [`Cause`] of its own. [`Fleet::states`] and [`FleetBuilder::on_state`] tell
//! each change of a [`ClientState`].
//!
//! # Stopping
//!
//! [`Fleet::stop`] returns by its deadline in every state. First no pub function is called and no
//! message taken in any more. The workers handle what was received before, connected clients send
//! what their outboxes hold, and each client sends DISCONNECT, which makes the broker discard its
//! will. What is late is abandoned and named in [`Report::abandoned`]. After a stop no connect is
//! begun. [`Fleet::stop_now`] ends without that.
//!
//! - Abandoned threads are those inside a connect or a write to a broker that does not read (they
//!   end within the connect timeout), inside a name look-up, or inside a function of yours (they
//!   end when it returns). Rust can't end a thread from outside.
//! - Messages that arrive during the stop, or that a handler could not pass on because of it, are not
//!   acknowledged: a broker that keeps the session sends them again.
//! - A handler or pub function that is refused a message because the fleet is being stopped, or whose
//!   [`Receipt`] says that the stop has ended its client, may return that error: it is no failure,
//!   and a handler's message stays unacknowledged. Where only
//!   one client was stopped ([`Client::stop`]), the refusal is an error like any other.
//! - Dropping the fleet stops it, with [`FleetBuilder::stop_deadline`]; so an early `?` or a
//!   panic stops everything too.
//! - [`Client::stop`] ends one client, [`Clients::stop`] and [`StopHandle::stop`] all of them.
//!   They never wait and can be called from anywhere.
//! - [`Fleet::stop_draining`] also lets clients that are away come back and empty their outboxes,
//!   as far as its deadline allows.
//! - [`Fleet::join`] and [`FleetBuilder::run`] wait until every client has ended or is told to
//!   stop, and stop what is left by [`FleetBuilder::stop_deadline`]. A second signal ends the
//!   process at once, with code 130.
//!
//! # Failures
//!
//! | what fails | what follows | where it shows |
//! |---|---|---|
//! | a spec, a limit, a thread | nothing runs | [`StartError`] from [`FleetBuilder::start`] |
//! | an attempt, a connection | retry | [`StateChange`], [`Stats`], [`Client::last_cause`] |
//! | all attempts of an outage; a refusal | that client ends | [`Outcome`], in the [`Report`] |
//! | a subscription | the client runs on without it, or ends ([`RefusedSubscription`]) | [`Cause::SubscriptionRefused`], [`ClientReport::refused_subscriptions`] |
//! | a subscription, granted with a lower QoS than asked for | the client runs on with less, or ends ([`OnLowered`]) | [`Cause::SubscriptionLowered`], [`ClientReport::lowered_subscriptions`] |
//! | a message on which the broker closes again and again | it is given up, the rest goes on ([`ClientSpec::max_closes`]) | [`FailedCause::BrokerCloses`], [`ClientReport::given_up`] |
//! | an UNSUBSCRIBE that a client could not send before it ended | a kept session still has the filter | [`ClientReport::unfinished_unsubscribes`] |
//! | a handler, a pub function, by error or panic | [`OnFailure`] | [`Stats`], [`Failure`] in the report |
//! | the state callback, by panic | nothing | [`Stats::callback_panics`], [`Failure`] in the report, the log |
//! | the function of [`ClientSpec::credentials_with`], by error or panic | a failed attempt | [`Cause::Credentials`] |
//! | a client's own thread, by panic | that client ends | [`Outcome::Panicked`] |
//!
//! Panics are caught where they unwind, and so are those of what your functions return, own and
//! log: an error whose `Display` panics, a panic payload or a captured value whose `Drop` does, a
//! logger that does. With `panic = "abort"` they end the process, and so do a panic inside a
//! destructor that runs while another panic unwinds, a panic hook that panics, and a stack that
//! overflows ([`FleetBuilder::worker_stack_size`]).
//! [`Report::exit_code`] is 1 if anything was lost against a promise or left undone, by the table in
//! its documentation; else 0. [`Error`] has a variant
//! for each error of a [`Fleet`] and its clients, so that one `?` serves a whole program.
//!
//! # Log levels
//!
//! Through the `log` crate; no logger is ever installed.
//!
//! * ERROR: a client ended that nobody stopped, a function of yours panicked, or a stop had to
//!   abandon a thread
//! * WARN: a failed attempt, a loss, a subscription that is refused or granted with less than asked
//!   for, an error of a handler or pub function, QoS 0 messages that were dropped on receipt
//! * INFO: start and stop of a fleet, the end of an outage
//! * DEBUG: a connect, the end of a client that was stopped
//! * TRACE: nothing
//!
//! Lines that repeat are thinned: of each client and kind the 1st, 2nd, 4th, 8th … is written, and of
//! all clients five a minute, with a line that counts the others. What is new is always written
//! (`docs/OPERATIONS.md` has the rules).
//!
//! No payload and no password is logged; client names, brokers, topics and the texts of your
//! errors are. rumqttc logs too, under `rumqttc`: with `RUST_LOG=mqtt_fleet=debug` and the like
//! it is left out.
//!
//! # Versioning and MSRV
//!
//! Semantic versioning. No type of rumqttc, which is 0.x, is public, so that a new version of it
//! is no breaking change of this crate; nor is one of crossbeam's, whose channels have std's errors here.
//! `bytes::Bytes` is part of the API. Enums that can grow are `#[non_exhaustive]`. What a
//! default is may change in a minor version, with a line in the changelog.
//!
//! Rust 1.85 or later. A newer minimum comes with a minor version, never with a patch.
//!
//! # Limits
//!
//! - MQTT 3.1.1, no MQTT 5.
//! - Nothing is kept on disk: what was in progress when the process dies is lost. A new process in
//!   an old kept session may have its first QoS 2 message taken for a repetition by the broker.
//! - At most 10 publishes of QoS 2 are under way at once; see [`ClientSpec::window`].
//! - A silent broker is noticed after one to two keep alives ([`ClientSpec::keep_alive`]).
//! - A connect can't be interrupted; see "Stopping".
//! - Clients are fixed at the start: none is added to a running fleet, and one that has ended stays
//!   so. Its spec starts again in another fleet; a process may have several.
//! - A thread for each client; several connections on one thread are not to be had.
//! - What an outbox holds is sent as fast as the broker acknowledges: there is no limit of messages a
//!   second.
//! - [`FleetBuilder::start`] counts descriptors, four for each client, and threads, and says what
//!   does not fit ([`StartError::Limits`]). Threads are counted on Linux only, where all of this
//!   is tested.
//!
//! # Features
//!
//! All are off by default. Without any, a broker is `mqtt://host:port` (also written `tcp://`) or
//! `unix:///path`; [`Broker`] lists all schemes.
//!
//! - `tls`: `mqtts://` (also `ssl://`, `tls://`, `mqtt+ssl://`), by rustls with ring. No provider of the process is set or used.
//! - `websocket`: `ws://`, and with `tls` also `wss://`.
//! - `serde`: [`ClientSpec`], [`Copies`] and the types of their settings can be serialised and
//!   deserialised: their data, not their functions. A password is never written.
//! - `files`: `SpecFile` reads specs from TOML and JSON files, and says in which file, in which
//!   line and at which key something is wrong; `docs/SPEC_FILES.md` has the keys. Brings `serde`.
//! - `testing`: the module `testing`, with `TestBroker`, an MQTT broker inside the process that
//!   misbehaves on request. For tests and demos.

// The library logs; only programs print. (Not in Cargo.toml, which speaks for the examples too.)
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod client;
mod engine;
mod fleet;
mod inbox;
mod observe;
mod outbox;
#[cfg(test)]
mod properties;
mod schedule;
mod session;
mod spec;
mod supervise;
#[cfg(feature = "testing")]
pub mod testing;
mod transport;

#[cfg(feature = "files")]
pub use client::file::{SpecFile, error::SpecFileError};
pub use client::{
    clients::{Clients, StopHandle, UnknownClient},
    copies::Copies,
    error::{SubscribeError, SubscribeErrorKind},
    handle::Client,
    next::{NextConnection, NextConnections},
    spec::ClientSpec,
};
pub use fleet::{
    builder::FleetBuilder,
    error::{Error, HandlersTakeMessages, Problem, StartError},
    fleet::{Fleet, ThreadCount},
};
pub use inbox::{
    message::{HandlerResult, Message},
    pull::{Messages, MessagesIter},
};
pub use observe::{
    cause::{Cause, Refusal},
    changes::{StateChange, StateChanges, StateChangesIter},
    counters::Stats,
    failure::{Failure, FailureKind},
    lateness::Lateness,
    ledger::Ledger,
    report::{ClientProblem, ClientReport, GivenUp, LoweredSubscription, Report},
    state::{ClientState, Outcome},
    wait::{StateAtTimeout, WaitError},
};
pub use outbox::{
    error::{PublishError, PublishErrorKind},
    receipt::{Delivery, FailedCause, Receipt, ReceiptError},
};
pub use session::{filter::topic_matches, publish::Publish};
pub use spec::{
    broker::Broker,
    broker_error::BrokerError,
    on_failure::{OnFailure, Repeat},
    outbox::{Offline, OnLowered, OutboxOverflow, RefusedSubscription, Replay},
    payload::Payload,
    qos::{InvalidQoS, QoS},
    retry::Retry,
    settings::Session,
    tls::{Tls, TlsError},
    topic::{TopicError, check_filter, check_topic},
    will::Will,
};
pub use supervise::{limits::Resource, signal::SignalError};

/// The blocks of Rust in the documents are doc tests. `tests/it/tutorial.rs` looks for those that are
/// forgotten here.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../README.md")]
    mod readme {}
    #[doc = include_str!("../docs/TUTORIAL.md")]
    mod tutorial {}
}
