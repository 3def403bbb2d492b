package postgres

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

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
