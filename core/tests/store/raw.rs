//! Raw documents: kept once, corrected beside, seen as they were known, erased with their entity.

use cenote::store::{Document, ErrorKind, History, KnownAt, RawDocuments, Record, Timestamp, Type, View};

use crate::server;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn view() -> View {
    let paths = vec![vec!["customer".to_owned(), "country".to_owned()]];
    View::builder("documents")
        .key("shop", Type::Text)
        .key("customer", Type::I64)
        .feature("x", Type::F64)
        .history(History::default())
        .raw(RawDocuments { gin: true, paths })
        .build()
        .unwrap()
}

#[tokio::test]
async fn a_document_is_kept_once_and_corrected_beside() {
    let store = server::builder().connect().await.unwrap();
    let view = view();
    let plan = store.plan_view(&view).await.unwrap();
    assert!(
        plan.to_string().contains("jsonb_path_ops") && plan.to_string().contains("->>'country'"),
        "{plan}"
    );
    plan.apply().await.unwrap();
    store.verify(&view).await.unwrap();
    assert!(store.plan_view(&view).await.unwrap().statements().is_empty());

    let raw = store.raw(&view).unwrap();
    let known = |written: i64, event: i64, json: &str| Document {
        written_at: Some(at(written)),
        ..Document::new(("a", 1i64), at(event), json)
    };
    let first = known(11, 10, r#"{"customer": {"country": "CH"}, "n": 1}"#);
    let done = raw.put(std::slice::from_ref(&first)).await.unwrap();
    assert_eq!((done.stored, done.known), (1, 0));
    let done = raw.put(&[first.clone(), first.clone()]).await.unwrap();
    assert_eq!((done.stored, done.known), (0, 2));
    // The same again, known from now on, and written otherwise: no news.
    let again = Document::new(("a", 1i64), at(10), r#"{"n":1,  "customer": {"country":"CH"}}"#);
    assert_eq!(raw.put(&[again]).await.unwrap().stored, 0);
    let corrected = known(500, 10, r#"{"n": 2}"#);
    let later = known(1000, 50, r#"{"n": 3}"#);
    assert_eq!(raw.put(&[corrected, later]).await.unwrap().stored, 2);

    let n = |document: Option<Document>| document.map(|document| document.json.to_string());
    assert_eq!(n(raw.get(("a", 1i64)).await.unwrap()).unwrap(), r#"{"n": 3}"#);
    assert_eq!(raw.get(("a", 2i64)).await.unwrap(), None);
    let cases = [
        (20, KnownAt::Label, Some(r#"{"n": 1, "customer": {"country": "CH"}}"#)),
        (10, KnownAt::Label, None),
        (9, KnownAt::Any, None),
        (20, KnownAt::Any, Some(r#"{"n": 2}"#)),
        (99, KnownAt::Label, Some(r#"{"n": 1, "customer": {"country": "CH"}}"#)),
        (99, KnownAt::At(at(1000)), Some(r#"{"n": 3}"#)),
        (1000, KnownAt::Label, Some(r#"{"n": 3}"#)),
    ];
    for (moment, known_at, expected) in cases {
        let found = raw.as_of(("a", 1i64), at(moment), known_at).await.unwrap();
        assert_eq!(n(found).as_deref(), expected, "at {moment}, {known_at:?}");
    }

    let found = raw.containing(r#"{"customer": {"country": "CH"}}"#, 10).await.unwrap();
    assert_eq!(
        found,
        [Document { json: r#"{"n": 1, "customer": {"country": "CH"}}"#.into(), ..first.clone() }]
    );
    assert_eq!(raw.containing("{}", 2).await.unwrap().len(), 2, "no more than asked for");
    let path = ["customer".to_owned(), "country".to_owned()];
    assert_eq!(raw.with_member(&path, "CH", 10).await.unwrap(), found);
    assert!(raw.with_member(&path, "CH' OR true --", 10).await.unwrap().is_empty());
    assert!(raw.with_member(&[], "CH", 10).await.is_err());
}

#[tokio::test]
async fn many_documents_are_kept_whole_or_not_at_all() {
    let store = server::builder().connect().await.unwrap();
    let view = view();
    store.apply(&view).await.unwrap();
    let raw = store.raw(&view).unwrap();
    let mut documents: Vec<_> =
        (0..12_000).map(|n| Document::new(("b", n % 4000), at(n), format!("{{\"n\": {n}}}"))).collect();
    documents.push(Document::new(("b", 1i64), at(0), "{"));
    let error = raw.put(&documents).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "row 12000, column \"document\": expected jsonb, found text that is no JSON document"
    );
    assert_eq!(raw.get(("b", 1i64)).await.unwrap(), None);
    documents.pop();
    assert_eq!(raw.put(&documents).await.unwrap().stored, 12_000);
    assert_eq!(raw.put(&documents).await.unwrap().known, 12_000);
    // Of two of one event time that came together the later is meant.
    let twice = ["1", "2"].map(|json| Document::new(("b", -1i64), at(5), json));
    assert_eq!(raw.put(&twice).await.unwrap().stored, 1);
    assert_eq!(&*raw.get(("b", -1i64)).await.unwrap().unwrap().json, "2");

    let error = raw.put(&[Document::new("b", at(0), "{}")]).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Cell { row: 0, .. }), "{error}");
    let none = View::builder("none").key("id", Type::I64).feature("x", Type::F64).build().unwrap();
    assert!(matches!(store.raw(&none).err().unwrap().kind(), ErrorKind::View { .. }));
}

#[tokio::test]
async fn an_entity_is_erased_with_its_documents() {
    let store = server::builder().connect().await.unwrap();
    let view = view();
    store.apply(&view).await.unwrap();
    let raw = store.raw(&view).unwrap();
    for id in [1i64, 2] {
        store.writer(&view).upsert(&[Record::new(("c", id), at(1), [1.0])]).await.unwrap();
        raw.put(&[Document::new(("c", id), at(1), "1"), Document::new(("c", id), at(2), "2")]).await.unwrap();
    }
    let erased = store.erase(&view, [("c", 1i64)]).await.unwrap();
    assert_eq!((erased.online, erased.history, erased.raw), (1, 1, 2));
    assert_eq!(raw.get(("c", 1i64)).await.unwrap(), None);
    assert!(raw.get(("c", 2i64)).await.unwrap().is_some());
}
