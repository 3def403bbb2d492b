// Package migrations holds the DDL of a source's schema as golang-migrate
// pairs. Names in the files are unqualified, the connection's search_path says
// which schema is meant; no file begins or commits a transaction itself.
package migrations

import "embed"

// Files are the migrations, NNNNNN_title.up.sql and .down.sql.
//
//go:embed *.sql
var Files embed.FS
