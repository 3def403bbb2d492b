package ledger

import (
	"fmt"
	"io"
	"strings"

	"github.com/golang-migrate/migrate/v4/database"

	"github.com/candu-loader/candu-loader/loader/failpoint"
)

// exactDriver makes the dirty mark exact. Plain golang-migrate writes the mark,
// the file and the clearing as three transactions, so after a crash nobody knows
// whether the file took hold. Here the file clears the mark itself: each file is
// sent as one query string, which Postgres runs as one transaction
// (https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-MULTI-STATEMENT).
type exactDriver struct {
	database.Driver
	version int
}

func (d *exactDriver) SetVersion(version int, dirty bool) error {
	if dirty {
		d.version = version
	}
	return d.Driver.SetVersion(version, dirty)
}

func (d *exactDriver) Run(file io.Reader) error {
	failpoint.At("migration")
	unmark := fmt.Sprintf("\n;update %s set dirty = false where version = %d;\n", versionTable, d.version)
	return d.Driver.Run(io.MultiReader(file, strings.NewReader(unmark)))
}
