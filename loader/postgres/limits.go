package postgres

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
)

// Hint is what to do about trouble that has one cause wherever it is met, "" if it is another. Nothing is
// decided on the server's words, which are in its language; the routine that raised them is not.
func Hint(err error) string {
	if noDescriptors(err) {
		return "This process, or this machine, has no file descriptors left: look at ulimit -n, LimitNOFILE of systemd, and what else runs here."
	}
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return ""
	}
	switch pg.Code {
	case protocolViolation:
		if strings.Contains(pg.Message, "startup parameter") {
			return "The pooler refuses a startup parameter: take `options` and `search_path` out of the URL."
		}
		return "The pooler takes no transactions: give PgBouncer pool_mode = transaction or session for this database, or let the URL lead to the server itself."
	case "08001":
		return "The server behind a foreign table does not answer: look at it, and at the options of its foreign server (psql: \\des+)."
	case tooManyConnections:
		return connectionsHint(pg.Routine, loginOf(err))
	}
	return ""
}

func connectionsHint(routine string, to login) string {
	switch routine {
	case "InitializeSessionUserId":
		return "The role has a limit of its own: ALTER ROLE " + to.role + " CONNECTION LIMIT -1; or a greater number. Who has them: " +
			"SELECT pid, application_name, state FROM pg_stat_activity WHERE usename = current_user;"
	case "CheckMyDatabase":
		return "The database has a limit of its own: ALTER DATABASE " + to.database + " CONNECTION LIMIT -1; or a greater number. Who has them: " +
			"SELECT pid, usename, application_name, state FROM pg_stat_activity WHERE datname = current_database();"
	}
	return "The server has no connection left for this role: raise max_connections, or put PgBouncer in front. What is reserved for others " +
		"(superuser_reserved_connections, reserved_connections) does not count."
}

// noDescriptors reports whether this machine could not open a socket or a file.
func noDescriptors(err error) bool {
	if err == nil {
		return false
	}
	// A resolver's error has no cause, only its words, which are Go's.
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || strings.Contains(err.Error(), "too many open files")
}

// Detailed is err with the DETAIL of the server, where that says what the error does not: which foreign
// server is down, and why.
func Detailed(err error) error {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || pg.Detail == "" || pg.Code[:min(2, len(pg.Code))] != "08" {
		return err
	}
	return fmt.Errorf("%w: %s", err, strings.Join(strings.Fields(pg.Detail), " "))
}
