//! Every receipt ends with its client, also when the client's thread does not come to it any more.

use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use mqtt_fleet::testing::{Sessions, TestBroker};
use mqtt_fleet::{
    Client, ClientState, FailedCause, Outcome, PublishErrorKind, QoS, Receipt, ReceiptError, Retry,
};

use crate::support::fleet::{MARGIN, PATIENCE, ended, spec, start};
use crate::support::proc;

const EVERY_QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// How the receipts have ended by now; in the ledger of their client, all of them have.
fn ends(client: &Client, receipts: &[Receipt]) -> Vec<ReceiptError> {
    let ledger = client.ledger();
    let accepted = receipts.len() as u64;
    assert_eq!((ledger.accepted, ledger.in_progress), (accepted, 0));
    assert!(ledger.balances(), "{ledger:?}");
    let ends = receipts.iter().map(|receipt| receipt.try_result());
    ends.map(|end| end.expect("it has ended").unwrap_err())
        .collect()
}

/// Fails if the receipts of a client that is abandoned wait for its thread, which hangs in foreign code.
#[test]
fn a_stop_ends_them_though_the_thread_hangs() {
    const DEADLINE: Duration = Duration::from_secs(1);
    let broker = TestBroker::start().unwrap();
    let (asked, is_asked) = bounded(1);
    let (release, held) = bounded::<()>(0);
    let hanging = spec("hangs-in-vault", &broker).credentials_with(move || {
        asked.send(())?;
        let _ = held.recv();
        Ok(("user".to_owned(), "secret".to_owned()))
    });
    let fleet = start([hanging]);
    let client = fleet.client("hangs-in-vault").unwrap();
    let receipts = EVERY_QOS.map(|qos| client.publish("t", qos, false, "1").unwrap());
    is_asked.recv_timeout(PATIENCE).unwrap();

    let begin = Instant::now();
    let report = fleet.stop(DEADLINE);
    assert!(begin.elapsed() < DEADLINE + MARGIN, "{report}");
    assert_eq!(ends(&client, &receipts), [ReceiptError::Unsent; 3]);
    assert_eq!(report.total().published.unsent, 3, "{report}");
    let outcome = report.client("hangs-in-vault").unwrap().outcome();
    let Outcome::Abandoned { state } = outcome else {
        panic!("{report}");
    };
    assert!(matches!(**state, ClientState::Connecting { .. }), "{state}");
    let [abandoned] = report.abandoned() else {
        panic!("{report}");
    };
    assert!(abandoned.contains("hangs-in-vault"), "{abandoned}");
    let refused = client.publish("t", QoS::AtLeastOnce, false, "2");
    assert_eq!(refused.unwrap_err().kind(), PublishErrorKind::Ended);

    drop(release);
    assert_eq!(ended(&fleet, "hangs-in-vault"), Outcome::Stopped);
    proc::wait_until("its thread ends", PATIENCE, || {
        proc::threads_named("hangs-in-vault") == 0
    });
    assert_eq!(broker.accepted(), 0);
    assert!(fleet.stop(PATIENCE).abandoned().is_empty());
    assert_eq!(ends(&client, &receipts), [ReceiptError::Unsent; 3]);
}

/// A logger that panics in one place.
struct Rigged(&'static str);

impl log::Log for Rigged {
    fn enabled(&self, _metadata: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let text = record.args().to_string();
        assert!(!text.contains(self.0), "rigged");
    }

    fn flush(&self) {}
}

/// Makes foreign code panic on the thread that logs this.
fn rig(text: &'static str) {
    let logger = Box::leak(Box::new(Rigged(text)));
    log::set_logger(logger).expect("the process has no other logger");
    log::set_max_level(log::LevelFilter::Debug);
}

/// Fails if a panic of the network thread takes what it has in its hands along: messages that were given
/// to the encoder and not noted yet.
#[test]
fn a_panic_of_the_thread_ends_what_it_has_just_sent() {
    proc::alone(
        "receipts_end::a_panic_of_the_thread_ends_what_it_has_just_sent",
        || {
            const LARGE: usize = 16 * 1024 * 1024;
            let broker = TestBroker::builder()
                .max_packet_size(2 * LARGE)
                .start()
                .unwrap();
            broker.stop();
            // Said by rumqttc, on the network thread. (A panic within a line of this crate ends there.)
            rig("Unsolicited puback");
            let fleet = start([spec("panics", &broker)
                .retry(Retry::forever())
                .max_packet_size(2 * LARGE)]);
            let client = fleet.client("panics").unwrap();
            let publish = |size: usize| {
                let payload = vec![0; size];
                let receipt = client.publish("t", QoS::AtLeastOnce, false, payload);
                receipt.unwrap()
            };
            // The large one ends the batch of the first ones.
            let receipts = [1, 1, 1, LARGE, 1, 1].map(publish);
            // CONNACK, and an acknowledgement that is read as soon as the first batch is fed: of an identifier that
            // rumqttc has room for and does not use.
            let bytes: [u8; 8] = [0x20, 2, 0, 0, 0x40, 2, 0, 12];
            broker.on_connect_raw_of("panics", bytes.to_vec());
            broker.restart(Sessions::Lost).unwrap();

            let outcome = ended(&fleet, "panics");
            let Outcome::Panicked { message } = &outcome else {
                panic!("{outcome}");
            };
            assert!(message.contains("rigged"), "{outcome}");
            let sent = ReceiptError::Failed(FailedCause::NotAcknowledged);
            let ends = ends(&client, &receipts);
            assert_eq!(ends[..3], [sent; 3]);
            assert!(matches!(ends[3], ReceiptError::Failed(_)), "{ends:?}");
            assert_eq!(ends[4..], [ReceiptError::Unsent; 2]);
            assert_eq!(fleet.stop(PATIENCE).exit_code(), 1);
        },
    );
}

/// Fails if the message that is given to the encoder while it panics is lost without an end.
#[test]
fn a_panic_of_the_encoder_ends_what_it_was_given() {
    proc::alone(
        "receipts_end::a_panic_of_the_encoder_ends_what_it_was_given",
        || {
            let broker = TestBroker::start().unwrap();
            broker.stop();
            // Said by rumqttc about the third one, which it knows by its identifier alone.
            rig("Topic = , Pkid = 3,");
            let fleet = start([spec("panics", &broker).retry(Retry::forever())]);
            let client = fleet.client("panics").unwrap();
            let receipts = ["t", "t", "panics", "t", "t"]
                .map(|topic| client.publish(topic, QoS::AtLeastOnce, false, "1").unwrap());
            broker.restart(Sessions::Lost).unwrap();
            let outcome = ended(&fleet, "panics");
            assert!(matches!(outcome, Outcome::Panicked { .. }), "{outcome}");
            let lost = ReceiptError::Failed(FailedCause::ConnectionLost);
            assert_eq!(ends(&client, &receipts)[2], lost);
        },
    );
}
