//! What holds for every roster.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn who(number: u8) -> Identity {
    Identity::from_seed(&[number; 32])
}

fn fleet() -> Roster {
    Roster::found(&who(0), "founder", [9; 16]).unwrap()
}

/// A fleet of nodes 0, 1, 2 … that joined in this order, each an admin added by the founder.
fn fleet_of(count: u8) -> Roster {
    let mut roster = fleet();
    for number in 1..count {
        roster.add(&who(0), who(number).key(), &format!("node {number}"), Role::Admin).unwrap();
    }
    roster
}

fn merged(mut into: Roster, from: &Roster) -> Roster {
    into.merge(from.statements().cloned());
    into
}

#[test]
fn members_come_and_go() {
    let mut roster = fleet();
    roster.add(&who(0), who(1).key(), "laptop", Role::Admin).unwrap();
    roster.add(&who(1), who(2).key(), "phone", Role::Guest).unwrap();
    assert_eq!(roster.allowed(), [0, 1, 2].map(|number| who(number).key()).into());
    assert_eq!(roster.member(who(2).key()).map(|member| (member.role, member.place)), Some((Role::Guest, 2)));
    roster.revoke(&who(1), who(2).key()).unwrap();
    assert!(roster.was_revoked(who(2).key()) && roster.member(who(2).key()).is_none());
    assert_eq!(roster.add(&who(0), who(2).key(), "phone", Role::Guest), Err(Refused::WasRevoked));
    // Everybody may leave, the founder too.
    roster.revoke(&who(0), who(0).key()).unwrap();
    assert_eq!(roster.allowed(), [who(1).key()].into());
}

#[test]
fn rights_are_checked_before_signing() {
    let mut roster = fleet_of(3);
    roster.add(&who(0), who(3).key(), "member", Role::Member).unwrap();
    roster.add(&who(0), who(4).key(), "guest", Role::Guest).unwrap();
    for (by, result) in [(3, Refused::NotAnAdmin), (4, Refused::NotAnAdmin), (9, Refused::NotAnAdmin)] {
        assert_eq!(roster.add(&who(by), who(8).key(), "x", Role::Member), Err(result));
        assert_eq!(roster.revoke(&who(by), who(2).key()), Err(result));
    }
    assert_eq!(roster.revoke(&who(2), who(1).key()), Err(Refused::IsSenior));
    assert_eq!(roster.revoke(&who(1), who(0).key()), Err(Refused::IsSenior));
    assert_eq!(roster.revoke(&who(1), who(9).key()), Err(Refused::NotAMember));
    assert_eq!(roster.add(&who(1), who(2).key(), "x", Role::Member), Err(Refused::IsAMember));
    for name in ["", "\n", &"x".repeat(65)] {
        assert_eq!(roster.add(&who(0), who(8).key(), name, Role::Member), Err(Refused::BadName));
    }
    roster.revoke(&who(4), who(4).key()).unwrap();
}

#[test]
fn nobody_removes_a_senior_even_with_helpers_of_its_own() {
    let roster = fleet_of(3);
    let id = Some(roster.fleet());
    let mut attack = Vec::new();
    for helper in 10..20 {
        let claim = Claim::Add { node: who(helper).key(), name: "helper".into(), role: Role::Admin, place: 3 };
        attack.push(Statement::sign(&who(2), id, claim));
        for target in 0..2 {
            let claim = Claim::Revoke { node: who(target).key(), keep: Vec::new() };
            attack.push(Statement::sign(&who(helper), id, claim));
        }
    }
    for place in [0, 1, 2] {
        // Backdated: as old as the founder, or as oneself.
        let claim = Claim::Add { node: who(30).key(), name: "old".into(), role: Role::Admin, place };
        attack.push(Statement::sign(&who(2), id, claim));
    }
    let mut after = roster.clone();
    let result = after.merge(attack);
    assert_eq!(result, Merged { added: 10, refused: 23 });
    assert!((0..3).all(|number| after.member(who(number).key()).is_some()));
    assert!(after.member(who(30).key()).is_none());
}

#[test]
fn what_a_stolen_admin_signs_later_is_void() {
    let mut roster = fleet_of(3);
    roster.add(&who(1), who(5).key(), "added in time", Role::Admin).unwrap();
    let before = roster.clone();
    roster.revoke(&who(0), who(1).key()).unwrap();
    assert!(roster.member(who(5).key()).is_some(), "what was known when it was removed stays");

    // The thief has everything that node 1 had, and signs as of yesterday.
    let mut thief = before;
    thief.add(&who(1), who(66).key(), "thief", Role::Admin).unwrap();
    thief.revoke(&who(1), who(2).key()).unwrap();
    thief.add(&who(66), who(67).key(), "thief's", Role::Admin).unwrap();
    let result = merged(roster.clone(), &thief);
    assert_eq!(result, roster);
    // Even where the thief was first.
    assert_eq!(merged(thief, &roster), roster);
}

#[test]
fn forged_and_foreign_statements_have_no_effect() {
    let mut roster = fleet_of(2);
    let add = |by: u8, fleet| {
        let claim = Claim::Add { node: who(50).key(), name: "x".into(), role: Role::Admin, place: 7 };
        Statement::sign(&who(by), Some(fleet), claim)
    };
    let other = Roster::found(&who(0), "founder", [8; 16]).unwrap();
    let good = add(0, roster.fleet());
    let forged = Statement::from_parts(Some(roster.fleet()), who(0).key(), good.claim().clone(), [7; 64]);
    let by_other = Statement::from_parts(
        Some(roster.fleet()),
        who(0).key(),
        good.claim().clone(),
        *add(1, roster.fleet()).signature(),
    );
    let before = roster.clone();
    let mut bad = vec![forged, by_other, add(99, roster.fleet()), add(0, other.fleet())];
    bad.extend(other.statements().cloned());
    assert_eq!(roster.merge(bad), Merged { added: 0, refused: 5 });
    assert_eq!(roster, before);
    assert_eq!(roster.merge([good.clone()]), Merged { added: 1, refused: 0 });
    // Said again, it changes nothing.
    assert_eq!(roster.merge([good]), Merged { added: 0, refused: 0 });
}

#[test]
fn a_full_roster_refuses_more() {
    let mut roster = fleet();
    let by = who(0);
    let add = |number: u32| {
        let mut key = [7; 32];
        key[..4].copy_from_slice(&number.to_be_bytes());
        let claim = Claim::Add { node: key.into(), name: "n".into(), role: Role::Member, place: 1 };
        Statement::sign(&by, Some(fleet().fleet()), claim)
    };
    let most = u32::try_from(MOST_STATEMENTS).unwrap();
    // Signatures are slow to check in a debug build: taken as checked here.
    let all = fleet().statements().cloned().chain((1..most).map(add)).collect::<Vec<_>>();
    roster = Roster::of(roster.fleet(), all);
    assert_eq!(roster.statements().count(), MOST_STATEMENTS);
    assert_eq!(roster.merge([add(most)]), Merged { added: 0, refused: 1 });
    assert_eq!(roster.add(&who(0), who(1).key(), "x", Role::Member), Err(Refused::Full));
}

#[test]
fn the_bytes_and_the_text_stay() {
    let mut roster = fleet();
    roster.add(&who(0), who(1).key(), "Küche", Role::Admin).unwrap();
    roster.add(&who(1), who(2).key(), "phone", Role::Guest).unwrap();
    roster.revoke(&who(0), who(1).key()).unwrap();
    crate::golden::check("roster.json", roster.to_json().as_bytes());
    let lines: Vec<String> = roster
        .statements()
        .map(|statement| statement.encode().iter().map(|byte| format!("{byte:02x}")).collect())
        .collect();
    crate::golden::check("statements.txt", lines.join("\n").as_bytes());
    assert_eq!(Roster::from_json(&roster.to_json()).unwrap(), roster);
}

#[test]
fn a_changed_file_does_not_add_anybody() {
    let roster = fleet_of(2);
    let text = roster.to_json();
    // A name of somebody else's choice: the signature does not fit any more, so the statement does not count.
    let changed = Roster::from_json(&text.replace("node 1", "node 2")).unwrap();
    assert_eq!(changed.allowed(), [who(0).key()].into());
    for broken in ["", "{}", "[]", &text[..text.len() / 2], &text.replace("founder", "thief")] {
        assert!(Roster::from_json(broken).is_err());
    }
}

/// Something that node `by` tries, honestly or not.
#[derive(Clone, Debug)]
enum Try {
    Add {
        by: u8,
        node: u8,
        role: Role,
        place: Option<u32>,
    },
    Revoke {
        by: u8,
        node: u8,
        keeps: bool,
    },
    /// Two of the three copies of the roster meet.
    Meet {
        one: usize,
        two: usize,
    },
}

fn tries() -> impl Strategy<Value = (usize, Try)> {
    let role = prop_oneof![Just(Role::Admin), Just(Role::Admin), Just(Role::Member), Just(Role::Guest)];
    let one = prop_oneof![
        3 => (0..6_u8, 0..6_u8, role, proptest::option::of(0..6_u32))
            .prop_map(|(by, node, role, place)| Try::Add { by, node, role, place }),
        2 => (0..6_u8, 0..6_u8, any::<bool>()).prop_map(|(by, node, keeps)| Try::Revoke { by, node, keeps }),
        2 => (0..3_usize, 0..3_usize).prop_map(|(one, two)| Try::Meet { one, two }),
    ];
    (0..3_usize, one)
}

fn play(tries: &[(usize, Try)]) -> [Roster; 3] {
    let mut copies = [fleet(), fleet(), fleet()];
    for (at, attempt) in tries {
        match attempt {
            Try::Add { by, node, role, place } => {
                let copy = &mut copies[*at];
                match place {
                    None => drop(copy.add(&who(*by), who(*node).key(), "n", *role)),
                    Some(place) => {
                        let claim = Claim::Add { node: who(*node).key(), name: "n".into(), role: *role, place: *place };
                        copy.merge([Statement::sign(&who(*by), Some(copy.fleet()), claim)]);
                    }
                }
            }
            Try::Revoke { by, node, keeps } => {
                let copy = &mut copies[*at];
                if *keeps {
                    drop(copy.revoke(&who(*by), who(*node).key()));
                } else {
                    let claim = Claim::Revoke { node: who(*node).key(), keep: Vec::new() };
                    copy.merge([Statement::sign(&who(*by), Some(copy.fleet()), claim)]);
                }
            }
            Try::Meet { one, two } => {
                let other = copies[*two].clone();
                copies[*one].merge(other.statements().cloned());
            }
        }
    }
    copies
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 12 } else { 400 }))]

    #[test]
    fn copies_that_meet_agree_and_the_founder_is_never_removed_by_others(tries in proptest::collection::vec(tries(), 0..12)) {
        let mut copies = play(&tries);
        // Everybody meets everybody until nothing changes.
        for _ in 0..4 {
            for (one, two) in [(0, 1), (1, 2), (2, 0), (1, 0), (2, 1), (0, 2)] {
                let other = copies[two].clone();
                copies[one].merge(other.statements().cloned());
            }
        }
        prop_assert_eq!(copies[0].digest(), copies[1].digest());
        prop_assert_eq!(&copies[0], &copies[1]);
        prop_assert_eq!(&copies[1], &copies[2]);
        let left = |attempt: &(usize, Try)| matches!(attempt.1, Try::Revoke { by: 0, node: 0, .. });
        prop_assert!(tries.iter().any(left) || copies[0].member(who(0).key()).is_some());
        let keys: BTreeSet<_> = (0..6).map(|number| who(number).key()).collect();
        for member in copies[0].members() {
            prop_assert!(keys.contains(&member.node));
            prop_assert!(!copies[0].was_revoked(member.node));
            prop_assert_eq!(member.place == 0, member.node == who(0).key());
        }
        prop_assert_eq!(Roster::from_json(&copies[0].to_json()).unwrap(), copies.into_iter().next().unwrap());
    }

    #[test]
    fn a_statement_comes_back_whole_and_damage_is_noticed(node: [u8; 32], place: u32, name in "[a-zäöü]{1,20}", at: prop::sample::Index, with: u8) {
        let claim = Claim::Add { node: node.into(), name, role: Role::Member, place };
        let statement = Statement::sign(&who(0), Some(fleet().fleet()), claim);
        let mut bytes = statement.encode();
        prop_assert_eq!(Statement::decode(&bytes), Ok(statement.clone()));
        let at = at.index(bytes.len());
        let before = bytes[at];
        bytes[at] = with;
        if let Ok(read) = Statement::decode(&bytes) {
            prop_assert!(before == with || !read.is_signed() || read == statement);
        }
    }

    #[test]
    fn any_bytes_are_a_statement_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Statement::decode(&bytes);
    }
}
