package postgres

// A loader whose machine vanishes leaves sessions behind of which the server learns nothing: no
// packet comes any more, and none that says so. Inside a COPY neither statement_timeout nor the limit
// for idle transactions ends them, and whoever comes next waits for their locks. So each connection
// asks the server to look whether its other end is there: it is gone within 20 s. What the URL says
// counts.
//
// Through a pooler the server's other end is the pooler, so it is no loss that it refuses them.
var keepalives = map[string]string{
	"tcp_keepalives_idle":     "5",
	"tcp_keepalives_interval": "5",
	"tcp_keepalives_count":    "2",
	"tcp_user_timeout":        "15s",
	// While it works on a statement it looks at nothing else, from Postgres 14 on.
	checkInterval: "5s",
}

const checkInterval = "client_connection_check_interval"
