package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/candu-loader/candu-loader/loader/fault"
)

// SQLSTATEs that somebody asks for by name
// (https://www.postgresql.org/docs/current/errcodes-appendix.html).
const (
	undefinedColumn       = "42703"
	undefinedTable        = "42P01"
	undefinedSchema       = "3F000"
	insufficientPrivilege = "42501"
	queryCanceled         = "57014"
	serializationFailure  = "40001"
	lockNotAvailable      = "55P03"
	diskFull              = "53100"
	protocolViolation     = "08P01"
	tooManyConnections    = "53300"
)

// Code returns the SQLSTATE of err, "" if the server did not send it.
func Code(err error) string {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code
	}
	return ""
}

// Missing reports whether err says that a table or its schema is not there.
func Missing(err error) bool {
	code := Code(err)
	return code == undefinedTable || code == undefinedSchema
}

// MissingColumn reports whether err says that a column is not there.
func MissingColumn(err error) bool { return Code(err) == undefinedColumn }

// OfData reports whether err says that the data can't be stored as they are: a value that its
// type does not take, a constraint, a limit of the server's, a trigger that raises.
func OfData(err error) bool {
	code := Code(err)
	switch code[:min(2, len(code))] {
	case "22", "23", "54":
		return true
	}
	return code == "P0001"
}

// Full reports whether err says that the server's disk is full.
func Full(err error) bool { return Code(err) == diskFull }

// Locked reports whether err says that another session held a lock for too long.
func Locked(err error) bool { return Code(err) == lockNotAvailable }

// Denied reports whether err says that the role lacks a privilege.
func Denied(err error) bool { return Code(err) == insufficientPrivilege }

// RowSecurity reports whether err says that policies may hide rows. Its SQLSTATE is that of a missing
// privilege, so the routine that raised it decides, which is the same in all languages.
func RowSecurity(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pg.Code == insufficientPrivilege && pg.Routine == "check_enable_rls"
}

// UnknownInFunction reports whether err says that the body of a function names something that is not
// there: a function, a table, a type, a schema.
func UnknownInFunction(err error) bool {
	switch Code(err) {
	case "42883", "42704", undefinedTable, undefinedSchema:
		return Context(err) != ""
	}
	return false
}

// Context returns in which functions an error was raised, the innermost first.
func Context(err error) string {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Where
	}
	return ""
}

// NoSuchValue reports whether err says that a text is no value of the type that it was
// cast to: malformed, or out of the type's range.
func NoSuchValue(err error) bool {
	code := Code(err)
	return code == "22P02" || code == "22003"
}

// TooSlow reports whether the server gave up on a statement that took too long
// for it: statement_timeout, or a standby that had to go on replaying
// ("canceling statement due to conflict with recovery"). A smaller page may
// get through.
func TooSlow(err error) bool {
	code := Code(err)
	return code == queryCanceled || code == serializationFailure
}

// RefusesParameter reports whether a pooler refused a startup parameter, as PgBouncer does.
func RefusesParameter(err error) bool {
	return err != nil && (Code(err) == "08P01" || strings.Contains(err.Error(), "unsupported startup parameter"))
}

// KindOf decides what an error of the database means.
//
//   - Passing trouble (the connection broke, the server restarts, a deadlock, a
//     recovery conflict, a time limit of the server's) is [fault.Retryable].
//   - What an operator has to mend (login, TLS, privilege, missing object, full disk) is
//     [fault.Precondition].
//   - Everything else is [fault.Failed].
//
// A kind that err already has stays.
func KindOf(err error) fault.Kind {
	if known, ok := errors.AsType[*fault.Error](err); ok {
		return known.Kind
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return kindOfCode(pg.Code)
	}
	switch {
	case isTLS(err):
		return fault.Precondition
	case errors.Is(err, context.Canceled):
		return fault.Interrupted
	case isNetwork(err):
		return fault.Retryable
	}
	return fault.Failed
}

func kindOfCode(code string) fault.Kind {
	switch code {
	case serializationFailure, "40P01", // deadlock
		lockNotAvailable, queryCanceled,
		"57P01", "57P02", "57P03", "57P05", // shutdown, crash, starting up, idle session
		"25P03", "25P04": // idle in transaction, transaction timeout
		return fault.Retryable
	case insufficientPrivilege, undefinedTable, undefinedSchema, "42703", // undefined column
		"28P01", "28000", "3D000", // password, no pg_hba entry, no such database
		protocolViolation, // statement pooling
		"08001",           // A server behind the server, of which a foreign table is.
		"25006",           // read-only: a standby, or a failover under way
		diskFull:          // what frees space is somebody, not time
		return fault.Precondition
	}
	switch code[:min(2, len(code))] {
	case "08", "53": // connection exception, insufficient resources
		return fault.Retryable
	}
	return fault.Failed
}

func isTLS(err error) bool {
	return fault.TLS(err) || strings.Contains(err.Error(), "server refused TLS connection")
}

func isNetwork(err error) bool {
	var network net.Error
	var connect *pgconn.ConnectError
	return errors.As(err, &network) || errors.As(err, &connect) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, io.ErrClosedPipe) || errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) || errors.Is(err, context.DeadlineExceeded) ||
		pgconn.SafeToRetry(err) || strings.Contains(err.Error(), "conn closed")
}
