//! Syncs that are put off.

use super::*;

#[test]
fn what_is_put_off_is_there_at_once_and_synced_together() {
    let folder = folder();
    let store = Store::open(folder.path()).expect("a store");
    make(&store, key(1), "one").expect("a result");
    assert_eq!(store.unsettled_since(), None, "results are synced as they are made");
    let (record, _) = make(&store.soon(), key(2), "two").expect("a result");
    let since = store.unsettled_since().expect("something waits");
    make(&store.soon(), key(3), "three").expect("a result");
    assert_eq!(store.unsettled_since(), Some(since), "the oldest counts");
    assert_eq!(hit(&Store::open(folder.path()).expect("a store"), key(2)), record);
    assert_reads_back(&store, &record, "two");
    store.settle().expect("a sync");
    assert_eq!(store.unsettled_since(), None);
}

#[test]
fn where_every_file_is_synced_nothing_is_put_off() {
    let folder = folder();
    let options = Options { durability: Durability::Strict, ..Options::default() };
    let store = Store::open_with(folder.path(), options).expect("a store");
    make(&store.soon(), key(1), "one").expect("a result");
    assert_eq!(store.unsettled_since(), None);
}
