def test_x(store):
    assert store.pending_page(None, 10) == []
    assert not store.has_pending()
    print(
        store.pending_summary(),
        store.mark_exported(
            [], __import__("datetime").datetime.now(__import__("datetime").UTC)
        ),
    )
