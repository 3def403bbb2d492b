package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/candu-loader/candu-loader/loader/fault"
)

// The encodings of a database that are not converted: UTF8 needs it not, and SQL_ASCII is none, so
// with another one for the client Postgres would refuse every text that is no UTF-8.
const (
	UTF8     = "UTF8"
	SQLASCII = "SQL_ASCII"
)

// ErrEncoding is the cause of an error about a database whose encoding does not serve.
var ErrEncoding = errors.New("encoding")

// Unconvertible reports whether err says that a text can't be converted between the encodings of
// database and client: no text of that encoding, or no such sign in the other one.
func Unconvertible(err error) bool {
	code := Code(err)
	return code == "22021" || code == "22P05"
}

// encodingOf returns the encoding of a connection's database. Servers tell it at start-up, and
// poolers mostly pass it on.
func encodingOf(ctx context.Context, conn *pgx.Conn) (encoding string, err error) {
	if encoding = conn.PgConn().ParameterStatus("server_encoding"); encoding == "" {
		err = conn.QueryRow(ctx, "show server_encoding").Scan(&encoding)
	}
	return encoding, err
}

// needUTF8 refuses a database that can't hold every text.
func needUTF8(ctx context.Context, conn *pgx.Conn, name string) error {
	encoding, err := encodingOf(ctx, conn)
	switch {
	case err != nil:
		return fault.Wrap(KindOf(err), err, "asking the %s database for its encoding", name)
	case encoding == UTF8:
		return nil
	}
	e := &fault.Error{
		Kind: fault.Precondition, Err: fmt.Errorf("its %w %s can't hold every text", ErrEncoding, encoding),
		Text: fmt.Sprintf("opening the %s database %q", name, conn.Config().Database),
	}
	return e.WithHint("Make one in UTF8 and let warehouse.url lead there:  CREATE DATABASE candu TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';  " +
		"a schema that is there already moves by  pg_dump --encoding=UTF8 --schema=NAME OLD | psql NEW")
}
