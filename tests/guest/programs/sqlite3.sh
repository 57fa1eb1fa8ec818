# Tables, indexes, joins, floats and a hash of the whole.
set -eu
rm -f work.db
sqlite3 work.db <<'SQL'
PRAGMA journal_mode = wal;
CREATE TABLE item (id INTEGER PRIMARY KEY, word TEXT, amount REAL);
WITH RECURSIVE n (i, x) AS (VALUES (1, 12345) UNION ALL SELECT i + 1, (x * 1103515245 + 12345) % 2147483648 FROM n LIMIT 50000)
    INSERT INTO item SELECT i, printf('%08x', x), x / 7.0 FROM n;
CREATE INDEX item_word ON item (word);
CREATE TABLE part (item INTEGER REFERENCES item, size INTEGER);
INSERT INTO part SELECT id, length(word) * id % 97 FROM item WHERE id % 3 = 0;
SELECT count(*), sum(amount), avg(amount), min(word), max(word) FROM item;
SELECT substr(word, 1, 1) AS first, count(*), total(size) FROM item JOIN part ON part.item = item.id GROUP BY first ORDER BY 2 DESC, 1;
DELETE FROM item WHERE id % 5 = 0;
UPDATE item SET amount = amount * 1.5 WHERE word < '4';
VACUUM;
PRAGMA integrity_check;
.sha3sum
SQL
