. "$LIB"
made web
vmtest -q snapshot --note first one
vmtest -q snapshot two
vmtest set --note 'second thoughts' web@one
vmtest set --note 'on the way' two
vmtest --json snapshots | python3 -c 'import json, sys; print(*[s["note"] for s in json.load(sys.stdin)["snapshots"]], sep=", ")'
vmtest set --note '' web@two
status vmtest set --note x
status vmtest set --note x web@three
status vmtest set --note x --name y web@one
vmtest --json snapshots | python3 -c 'import json, sys; print(*[s["note"] for s in json.load(sys.stdin)["snapshots"]], sep=", ")'
