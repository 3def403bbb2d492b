package ledger

import (
	"context"
	"errors"
	"io"

	"github.com/golang-migrate/migrate/v4/database"
	"github.com/jackc/pgx/v5"

	"github.com/candu-loader/candu-loader/loader/failpoint"
	"github.com/candu-loader/candu-loader/queries"
)

// exactDriver lets golang-migrate work within one transaction of ours: a file and its version take hold
// together or not at all, so there is nothing to mark as "dirty", and nothing is left to the session,
// which a pooler may share. golang-migrate's own driver locks and sets versions outside of the file's
// transaction.
type exactDriver struct {
	ctx context.Context //nolint:containedctx // The interface has none.
	tx  pgx.Tx
	q   *queries.Queries
	// from is the version before, version the one that was begun.
	from, version int
}

// Version returns where the schema stands. A mark of an older candu-loader is one of a migration that
// was rolled back: it cleared the mark in its own transaction, and we hold the lock.
func (d *exactDriver) Version() (version int, dirty bool, err error) {
	row, err := d.q.DriftVersion(d.ctx, d.tx)
	if errors.Is(err, pgx.ErrNoRows) {
		return database.NilVersion, false, nil
	}
	d.from = int(row.Version)
	if row.Dirty {
		d.from = before(d.from)
	}
	if version = d.from; version == 0 {
		version = database.NilVersion
	}
	return version, false, err
}

// SetVersion is called before a migration and after it.
func (d *exactDriver) SetVersion(version int, begun bool) error {
	d.version = version
	if begun {
		return nil
	}
	if err := d.q.VersionClear(d.ctx, d.tx); err != nil {
		return err
	}
	return d.q.VersionPut(d.ctx, d.tx, int64(version))
}

// Run runs the statements of a file.
func (d *exactDriver) Run(file io.Reader) error {
	failpoint.At("migration")
	text, err := io.ReadAll(file)
	if err == nil {
		_, err = d.tx.Exec(d.ctx, string(text))
	}
	return err
}

// Lock and Unlock do nothing: the transaction has the lock.
func (d *exactDriver) Lock() error   { return nil }
func (d *exactDriver) Unlock() error { return nil }

// Open, Close and Drop are of no use within a transaction.
func (d *exactDriver) Open(string) (database.Driver, error) { return d, nil }
func (d *exactDriver) Close() error                         { return nil }
func (d *exactDriver) Drop() error                          { return errors.New("dropping a schema: candu-loader never does") }
