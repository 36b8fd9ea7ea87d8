//! Subscriptions, connection by connection, without one.

use super::*;

type Unsubscribes = Vec<Vec<String>>;
type Subscribes = Vec<Vec<(String, QoS)>>;

/// What a connection begins with.
fn connected(
    subscriptions: &mut Subscriptions,
    session_present: bool,
    max_packet: usize,
) -> (Unsubscribes, Subscribes) {
    let (mut unsubscribe, mut subscribe) = (Vec::new(), Vec::new());
    for control in subscriptions.connected(session_present, max_packet, Instant::now()) {
        match control {
            Control::Unsubscribe(filters) => {
                assert!(subscribe.is_empty(), "UNSUBSCRIBE comes first");
                unsubscribe.push(filters);
            }
            Control::Subscribe(filters) => subscribe.push(filters),
            control => panic!("{control:?}"),
        }
    }
    (unsubscribe, subscribe)
}

fn two() -> Subscriptions {
    Subscriptions::new(vec![
        ("a".into(), QoS::AtMostOnce),
        ("b".into(), QoS::AtLeastOnce),
    ])
}

#[test]
fn a_lost_session_asks_again_and_a_kept_one_does_not() {
    let mut subscriptions = two();
    assert_eq!(connected(&mut subscriptions, true, 1_000).1.len(), 1);
    assert!(!subscriptions.all_answered());
    subscriptions.written(7);
    let granted = Some(QoS::AtMostOnce);
    let refused = [Shortfall::Refused("b".to_owned())];
    assert_eq!(
        subscriptions.answered(7, &[granted, None]).unwrap(),
        refused
    );
    assert!(subscriptions.all_answered());
    let again = connected(&mut subscriptions, true, 1_000).1;
    assert_eq!(again, [[("b".to_owned(), QoS::AtLeastOnce)]]);
    let anew = connected(&mut subscriptions, false, 1_000).1;
    assert_eq!(anew[0].len(), 2);
}

#[test]
fn packets_stay_below_the_limit() {
    let wanted = (0..100)
        .map(|i| (format!("filter/{i:03}"), QoS::AtMostOnce))
        .collect();
    let mut subscriptions = Subscriptions::new(wanted);
    let packets = connected(&mut subscriptions, false, 100).1;
    assert!(
        packets
            .iter()
            .all(|packet| packet.len() == 7 || packet.len() == 2)
    );
    assert_eq!(packets.iter().map(Vec::len).sum::<usize>(), 100);
}

#[test]
fn answers_are_matched_by_identifier() {
    let mut subscriptions = two();
    subscriptions.connected(false, 1_000, Instant::now());
    subscriptions.want("c".into(), QoS::AtMostOnce);
    subscriptions.ask(1_000, Instant::now());
    subscriptions.written(1);
    subscriptions.written(2);
    let granted = Some(QoS::AtLeastOnce);
    assert!(subscriptions.answered(9, &[granted]).unwrap().is_empty());
    assert!(subscriptions.answered(2, &[granted]).unwrap().is_empty());
    assert!(!subscriptions.all_answered());
    let both = subscriptions.answered(1, &[granted, granted]);
    assert!(both.unwrap().is_empty());
    assert!(subscriptions.all_answered());
    assert!(subscriptions.drop_filter("c", true));
    assert!(!subscriptions.drop_filter("c", true));
}

/// Fails when a lower quality of service is taken for the one that was asked for at that time, or
/// a higher one for a lower.
#[test]
fn what_is_granted_is_compared_with_what_was_asked() {
    let mut subscriptions = two();
    subscriptions.connected(false, 1_000, Instant::now());
    subscriptions.written(1);
    // Asked again before the answer, with another quality of service.
    subscriptions.want("b".into(), QoS::ExactlyOnce);
    subscriptions.ask(1_000, Instant::now());
    subscriptions.written(2);
    let once = Some(QoS::AtLeastOnce);
    assert_eq!(subscriptions.answered(1, &[once, once]).unwrap(), []);
    let lowered = [Shortfall::Lowered(LoweredSubscription {
        filter: "b".to_owned(),
        asked: QoS::ExactlyOnce,
        granted: QoS::AtLeastOnce,
    })];
    assert_eq!(subscriptions.answered(2, &[once]).unwrap(), lowered);
    assert!(subscriptions.all_answered());
}

#[test]
fn a_kept_session_is_told_what_to_forget_until_it_has_answered() {
    let mut subscriptions = two();
    subscriptions.connected(false, 1_000, Instant::now());
    assert!(subscriptions.drop_filter("a", true));
    subscriptions.unsubscribe_written(3);
    assert!(subscriptions.drop_filter("b", false));
    // Wanted again: SUBSCRIBE says it all.
    subscriptions.want("b".into(), QoS::AtMostOnce);
    let opening = connected(&mut subscriptions, true, 1_000);
    assert_eq!(opening.0, [["a"]]);
    assert_eq!(opening.1, [[("b".to_owned(), QoS::AtMostOnce)]]);
    subscriptions.unsubscribe_written(4);
    subscriptions.unsubscribed(3);
    assert_eq!(connected(&mut subscriptions, true, 1_000).0, [["a"]]);
    subscriptions.unsubscribe_written(5);
    assert_eq!(subscriptions.unfinished_unsubscribes(), ["a"], "no answer");
    subscriptions.unsubscribed(5);
    assert_eq!(subscriptions.unfinished_unsubscribes(), [""; 0]);
    assert_eq!(connected(&mut subscriptions, true, 1_000).0.len(), 0);
    assert!(subscriptions.drop_filter("b", false));
    subscriptions.disconnect_written();
    assert_eq!(
        subscriptions.unfinished_unsubscribes(),
        ["b"],
        "not written"
    );
    assert!(
        subscriptions
            .connected(false, 1_000, Instant::now())
            .is_empty()
    );
    assert_eq!(subscriptions.unfinished_unsubscribes(), [""; 0]);
    subscriptions.want("c".into(), QoS::AtMostOnce);
    assert!(subscriptions.drop_filter("c", true));
    subscriptions.unsubscribe_written(6);
    subscriptions.disconnect_written();
    assert_eq!(subscriptions.unfinished_unsubscribes(), [""; 0], "written");
}

/// Fails when an answer is waited for longer than it may take, or from another time on.
#[test]
fn an_answer_is_due_from_the_oldest_request_on() {
    let begin = Instant::now();
    let second = Duration::from_secs(1);
    let mut subscriptions = two();
    assert_eq!(subscriptions.answer_due(), None);
    subscriptions.connected(false, 1_000, begin);
    subscriptions.written(1);
    subscriptions.want("c".into(), QoS::AtMostOnce);
    subscriptions.ask(1_000, begin + second);
    assert_eq!(subscriptions.answer_due(), Some(begin + SUBACK_TIMEOUT));
    let granted = Some(QoS::AtLeastOnce);
    subscriptions.answered(1, &[granted, granted]);
    let due = subscriptions.answer_due();
    assert_eq!(due, Some(begin + second + SUBACK_TIMEOUT));
    subscriptions.wait_anew(begin + 5 * second);
    let due = subscriptions.answer_due();
    assert_eq!(due, Some(begin + 5 * second + SUBACK_TIMEOUT));
}
