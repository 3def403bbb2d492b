package postgres

import "time"

// Server is what a server says of itself.
type Server struct {
	// Clock is the server's.
	Clock time.Time
	// Version is that of Postgres, for example 15.18.
	Version        string
	Role, Database string
	// IsReplica is true while it can't be written to.
	IsReplica bool
	// Encrypted is true if our connection is.
	Encrypted bool
}
