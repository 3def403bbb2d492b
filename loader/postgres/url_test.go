package postgres_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/loadertest"
	"github.com/candu-loader/candu-loader/loader/postgres"
	"github.com/candu-loader/candu-loader/loader/secret"
)

// What is wrong with a URL is said by name, when the config is read and when a connection is made, and
// nothing that may be a secret is repeated.
func TestCheckURL(t *testing.T) {
	t.Parallel()
	const rest = "@db.example.com/w"
	for url, want := range map[string]string{
		"jdbc:postgresql://db.example.com/w?user=u&password=s3cr3t":   "JDBC",
		"jdbc:mysql://u:s3cr3t" + rest:                                "JDBC",
		"postgresql+psycopg2://u:s3cr3t" + rest:                       "names a driver of another language",
		"postgres+asyncpg://u:s3cr3t" + rest:                          "names a driver of another language",
		"POSTGRES://u:s3cr3t" + rest:                                  "in lower case",
		"Postgresql://u:s3cr3t" + rest:                                "in lower case",
		"postgres:u:s3cr3t" + rest:                                    "it begins with postgres://",
		"mysql://u:s3cr3t" + rest:                                     "is not a Postgres URL",
		"s3cr3t":                                                      "is not a Postgres URL",
		"psql 'host=db.example.com password=s3cr3t'":                  "begins with the command psql",
		"psql postgres://u:s3cr3t" + rest:                             "begins with the command psql",
		"postgres://u:s3cr3t\n" + rest:                                "line end",
		"postgres://u:x@s3cr3t" + rest:                                "has a second @",
		"postgres://u@tenant:s3cr3t" + rest:                           "has a second @",
		"postgres://u:x@%40s3cr3t/w":                                  "perhaps a part of the password",
		"postgres://h:5?user=x@s3cr3t" + rest:                         "behind its host",
		"host=db user=u password=x s3cr3t!=y":                         "perhaps a part of the password",
		" postgres://u:s3cr3t" + rest + "?sslmode=disable":            "perhaps a part of the password",
		"postgres://u:x@s3cr3t/y" + rest:                              "behind its host",
		"postgres://u:x/s3cr3t" + rest:                                "behind its host",
		"postgres://u:s3cr3t#y" + rest:                                "behind its host",
		"postgres://u:x@s3cr3t#y" + rest:                              "behind its host",
		"postgres://u:x@s3cr3t?y" + rest:                              "behind its host",
		"postgres://u:x@h?s3cr3t=y" + rest + "?sslmode=disable":       "behind its host",
		"postgres://u" + rest + "?sslmode=verifyfull":                 `"sslmode" has an unknown value`,
		"postgres://u" + rest + "?sslmode=s3cr3t":                     `"sslmode" has an unknown value`,
		"host=db.example.com sslmode=no-verify":                       `"sslmode" has an unknown value`,
		"postgres://u" + rest + "?target_session_attrs=s3cr3t":        `"target_session_attrs" has a value that is none`,
		"postgres://u" + rest + "?connect_timeout=s3cr3t":             `"connect_timeout" has a value that is none`,
		"postgres://u" + rest + "?sslcert=/s3cr3t":                    "one is missing",
		"postgres://u" + rest + "?schema=s3cr3t":                      `parameter "schema" is none of Postgres'`,
		"postgres://u" + rest + "?sslmode=require&pgbouncer=true":     `parameter "pgbouncer" is none of Postgres'`,
		"postgres://u" + rest + "?pool_max_conns=s3cr3t":              `parameter "pool_max_conns" is none of Postgres'`,
		"postgres://u" + rest + "?connection_limit=5&pool_timeout=10": `is none of Postgres'`,
		"postgres://u" + rest + "?sslaccept=strict":                   `parameter "sslaccept" is none of Postgres'`,
		"postgres://u" + rest + "?currentSchema=x":                    `parameter "currentschema" is none of Postgres'`,
		"host=db.example.com user=u replication=database":             `parameter "replication" is none of Postgres'`,
	} {
		_, err := postgres.CheckURL(secret.URL(url), false)
		require.ErrorContains(t, err, want, url)
		require.Equal(t, fault.Config, fault.KindOf(err), url)
		require.NotEmpty(t, fault.HintOf(err), url)
		_, opening := postgres.Open(t.Context(), secret.URL(url), postgres.Options{Name: "warehouse"})
		require.ErrorContains(t, opening, "parsing the warehouse URL: "+err.Error(), url)
		require.Equal(t, fault.HintOf(err), fault.HintOf(opening))
		for _, said := range []string{err.Error(), fault.HintOf(err), opening.Error()} {
			require.NotContains(t, said, "s3cr3t", url)
		}
	}
	for _, url := range []string{
		"postgres://u:p%40%2F" + rest, "postgresql://[::1]:5433/w", "postgres:///w?host=/run/postgresql&user=a@b", "host=db user='a b' password='x y'",
		"postgres://u" + rest + "?application_name=a@b&options=-c%20geqo%3Doff", "postgres://a,b:5433/w?target_session_attrs=any", "postgres://u" + rest + "?statement_timeout=5s&my.setting=x",
	} {
		without, err := postgres.CheckURL(secret.URL(url), true)
		require.NoError(t, err, url)
		require.Empty(t, without, url)
	}
}

// Files and services are this machine's: the config may be right elsewhere.
func TestCheckURL_Files(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "s3cr3t.pem")
	require.NoError(t, os.WriteFile(file, []byte("nothing"), 0o600))
	services := filepath.Join(dir, "services")
	require.NoError(t, os.WriteFile(services, []byte("[other]\nhost=db\n"), 0o600))
	for parameters, want := range map[string]string{
		"sslmode=verify-full&sslrootcert=" + dir + "/s3cr3t":  `the file of parameter "sslrootcert" can't be read: no such file or directory`,
		"sslmode=require&sslrootcert=" + dir:                  `the file of parameter "sslrootcert" can't be read: is a directory`,
		"sslmode=verify-ca&sslrootcert=" + file:               `the file of parameter "sslrootcert" holds no certificate`,
		"sslmode=require&sslcert=" + file + "&sslkey=/s3cr3t": `the file of parameter "sslkey" can't be read: no such file`,
		"sslmode=require&sslcert=" + file + "&sslkey=" + file: "are no certificate and its key",
		"service=s3cr3t&servicefile=" + dir + "/none":         "the file of services can't be read",
		"service=s3cr3t&servicefile=" + services:              "not in the file of services",
	} {
		url := secret.URL("postgres://u@db.example.com/w?" + parameters)
		_, err := postgres.CheckURL(url, true)
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error()+fault.HintOf(err), "s3cr3t")
		_, err = postgres.CheckURL(url, false)
		require.NoError(t, err)
	}
}

// libpq's parameters that the driver lacks were sent to the server, which refused the connection.
func TestOpen_WithParametersOfLibpq(t *testing.T) {
	t.Parallel()
	url := loadertest.Database(t) + "&gssencmode=disable&keepalives=1&keepalives_idle=30&keepalives_interval=10&keepalives_count=3&sslcompression=0&requiressl=1" +
		"&ssl_min_protocol_version=TLSv1.2&sslcrl=/x&fallback_application_name=x&channel_binding=prefer&krbsrvname=x&load_balance_hosts=disable&tcp_user_timeout=5000"
	without, err := postgres.CheckURL(secret.URL(url), true)
	require.NoError(t, err)
	require.Equal(t, "fallback_application_name gssencmode keepalives keepalives_count keepalives_idle keepalives_interval load_balance_hosts requiressl "+
		"ssl_min_protocol_version sslcompression sslcrl", strings.Join(without, " "))
	pool, err := postgres.Open(t.Context(), secret.URL(url), postgres.Options{Name: "warehouse"})
	require.NoError(t, err)
	pool.Close()
	reader, err := postgres.OpenReader(t.Context(), secret.URL(url), postgres.Options{Name: "export"})
	require.NoError(t, err)
	reader.Close()
}

func TestSameDatabase(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"postgres://a:x@db/w", "postgresql://b:y@db:5432/w?sslmode=require", true},
		{"postgres://a@db/w", "host=db dbname=w user=c", true},
		{"postgres://db/w", "postgres://db/v", false},
		{"postgres://db/w", "postgres://other/w", false},
		{"postgres://db:5433/w", "postgres://db/w", false},
		{"postgres://a:x@db:p/w", "postgres://a:x@db:p/w", true},
		{"postgres://a:x@db:p/w", "postgres://db/w", false},
	} {
		require.Equal(t, c.same, postgres.SameDatabase(secret.URL(c.a), secret.URL(c.b)), c)
	}
	require.Equal(t, "postgres://a:***@db:5432/w", postgres.Place("postgres://a:x@db/w?sslpassword=y"))
	for _, url := range []string{"postgres://a:x@db:p/w", "postgres://a:x@half@db/w", "postgres://a:x@%40half/w", "postgres://a:x/half@db/w", " postgres://a:half@db/w"} {
		require.Equal(t, "***", postgres.Place(secret.URL(url)), url)
	}
}

// Whatever a password holds, and however it is spelt, nothing that is said of its URL has a part of it.
func TestOpen_SaysNothingOfAPassword(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(17, 11)) // The same passwords each time.
	const letters, specials = "QXZJKVWY79", "@@#/?:%& =,'[]\\+"
	for range 3000 {
		var password strings.Builder
		for range 6 + random.IntN(14) {
			from := letters
			if random.IntN(5) == 0 {
				from = specials
			}
			password.WriteByte(from[random.IntN(len(from))])
		}
		word := password.String()
		for _, url := range []string{
			"postgres://ldr:" + word + "@127.0.0.1:1/wh?sslmode=disable", "postgresql://ldr:" + word + "@127.0.0.1:1", "host=127.0.0.1 port=1 user=ldr sslmode=disable password=" + word,
			"host=127.0.0.1 port=1 password=" + word + " user=ldr dbname=wh sslmode=disable", "postgres://127.0.0.1:1/wh?sslmode=disable&user=ldr&password=" + word,
		} {
			_, err := postgres.CheckURL(secret.URL(url), true)
			_, opening := postgres.Open(t.Context(), secret.URL(url), postgres.Options{Name: "warehouse"})
			require.Error(t, opening)
			said := fmt.Sprint(err, fault.HintOf(err), opening, fault.HintOf(opening), postgres.Place(secret.URL(url)), secret.URL(url))
			for i := range len(word) - 3 {
				require.NotContains(t, said, word[i:i+4], url)
			}
		}
	}
}

// What a server says of parameters quotes them.
func TestOpen_KeepsParametersToItself(t *testing.T) {
	t.Parallel()
	database := loadertest.Database(t)
	config, err := pgconn.ParseConfig(database)
	require.NoError(t, err)
	for _, url := range []string{
		database + "&work_mem=s3cr3t", database + "&role=s3cr3t", database + "&options=-c%20s3cr3t%3D1",
		fmt.Sprintf("host=%s port=%d user=%s dbname=%s sslmode=disable password=half s3cr3t=1", config.Host, config.Port, config.User, config.Database),
	} {
		_, err := postgres.Open(t.Context(), secret.URL(url), postgres.Options{Name: "warehouse"})
		require.ErrorContains(t, err, "SQLSTATE")
		require.NotContains(t, err.Error(), "s3cr3t")
		require.Contains(t, fault.HintOf(err), "Take the parameter", err)
	}
}
