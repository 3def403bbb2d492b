package postgres

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// login is as whom a connection was asked for, and to what, as quoted names.
type login struct{ role, database string }

// someone stands where it is not known.
var someone = login{"...", "..."}

// loginOf is that of an error of connecting.
func loginOf(err error) login {
	var connect *pgconn.ConnectError
	if !errors.As(err, &connect) {
		return someone
	}
	return loginBy(connect.Config)
}

func loginBy(config *pgconn.Config) login {
	return login{pgx.Identifier{config.User}.Sanitize(), pgx.Identifier{cmp.Or(config.Database, config.User)}.Sanitize()}
}

// attempts are the errors of each try to connect: one for each address, and without a wish for TLS in the URL one
// more for the try without it.
func attempts(err error) []error {
	var connect *pgconn.ConnectError
	if !errors.As(err, &connect) {
		return []error{err}
	}
	if joined, ok := connect.Unwrap().(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{connect.Unwrap()}
}

// decisive is the attempt that tells most: where the server said something, then where anything but TLS was in the
// way, then TLS, and last an address at which nothing answers.
func decisive(err error) error {
	rank := func(attempt error) int {
		switch dial := (*net.OpError)(nil); {
		case Code(attempt) != "":
			return 0
		case isTLS(attempt):
			return 2
		case errors.As(attempt, &dial) && dial.Op == "dial":
			return 3
		}
		return 1
	}
	return slices.MinFunc(attempts(err), func(a, b error) int { return cmp.Compare(rank(a), rank(b)) })
}

// connectHint is what to do about a server that cannot be used.
func connectHint(err error, to login) string {
	if hint := Hint(err); hint != "" {
		return hint
	}
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if ok {
		if hint := refusedHint(pg, to); hint != "" {
			return hint
		}
	}
	err = decisive(err)
	var dns *net.DNSError
	said := err.Error()
	switch {
	case isTLS(err) && strings.Contains(said, "refused TLS"):
		return "The server offers no TLS: turn it on there (ssl = on), or use sslmode=disable on a network that you trust."
	case isTLS(err):
		return "The server's certificate does not fit: give its CA with sslrootcert=FILE and use the host name that is in the certificate."
	case errors.As(err, &dns):
		return "Check the host name in the URL."
	case strings.Contains(said, "ValidateConnect"):
		return "The server answers, and is not what the URL asks for by target_session_attrs: take that out, or name the host that is."
	case strings.Contains(said, "channel binding"):
		return "The server answers, and does not do what the URL asks for by channel_binding: take that out, or use sslmode=verify-full and a password in SCRAM."
	case strings.Contains(said, "require_auth"), strings.Contains(said, "authentication method"):
		return "The server answers, and asks for another kind of authentication than the URL allows by require_auth: take that out, or change pg_hba.conf."
	default:
		return "Check host and port in the URL, that the server runs, and that its firewall lets this machine in."
	}
}

// refusedHint is what to do where the server answers, and refuses. Where a SQLSTATE has several meanings, the
// routine that raised it decides.
func refusedHint(pg *pgconn.PgError, to login) string {
	const parameter = "Take the parameter that the server names out of the URL."
	switch pg.Code {
	case "28P01":
		return "Check user and password in the URL; a password with special characters must be percent-encoded."
	case "28000":
		if pg.Routine == "InitializeSessionUserId" {
			return roleHint(pg.Message, to)
		}
		return "Add a line to pg_hba.conf that lets this user in from this host, or use sslmode=require."
	case "3D000":
		return "Check the database's name at the end of the URL."
	case insufficientPrivilege:
		if pg.Routine == "CheckMyDatabase" {
			return fmt.Sprintf("GRANT CONNECT ON DATABASE %s TO %s;", to.database, to.role)
		}
		return parameter
	case "42704", "22023", "55P02":
		return parameter
	case "55000":
		if pg.Routine != "CheckMyDatabase" {
			return "That database was left behind by a DROP DATABASE that was interrupted: let the URL lead to another one."
		}
		return fmt.Sprintf("ALTER DATABASE %s ALLOW_CONNECTIONS true;", to.database)
	case "0A000":
		return "Postgres does not convert the encoding of that database to UTF-8: copy the table into a database in UTF8, and let the URL lead there."
	case queryCanceled:
		return fmt.Sprintf("The statement_timeout of the role or of the database ends even the first question, and what stands in between keeps the loader's own away:  "+
			"ALTER ROLE %s IN DATABASE %s SET statement_timeout = 0;", to.role, to.database)
	case "57P01", "57P02", "57P03":
		return "The server starts or shuts down: try again once it is up."
	}
	return ""
}

// roleHint is about a role that is not there or may not log in, which only the words tell apart; they may be in any
// language.
func roleHint(message string, to login) string {
	create, alter := fmt.Sprintf("Check the user in the URL. If it is right:  CREATE ROLE %s LOGIN;", to.role), fmt.Sprintf("ALTER ROLE %s LOGIN;", to.role)
	switch {
	case strings.Contains(message, "does not exist"):
		return create
	case strings.Contains(message, "not permitted to log in"):
		return alter
	}
	return create + "  Or, if it is there:  " + alter
}

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
