package statuspage

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"
	"path"
	"time"
)

//go:embed assets templates
var files embed.FS

// asset is a file that the page needs beside itself.
type asset struct {
	content []byte
	kind    string
	hash    string
}

var assets = map[string]asset{
	"style.css": load("style.css", "text/css; charset=utf-8"),
	"page.js":   load("page.js", "text/javascript; charset=utf-8"),
	"icon.svg":  load("icon.svg", "image/svg+xml"),
}

func load(name, kind string) asset {
	content, err := files.ReadFile("assets/" + name)
	if err != nil {
		panic(err) // It is embedded.
	}
	sum := sha256.Sum256(content)
	return asset{content: content, kind: kind, hash: hex.EncodeToString(sum[:6])}
}

// link is an asset's address. It is relative, so that the page works behind a
// proxy that puts it under a path of its own.
func link(name string) string { return "assets/" + name + "?v=" + assets[name].hash }

// Assets serves /assets/. An address with the hash of another version is answered
// too, but not to be kept: during a roll-out the page may come from one version and
// its assets from the other.
func Assets() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		file, ok := assets[path.Base(r.URL.Path)]
		if !ok || path.Base(path.Dir(r.URL.Path)) != "assets" {
			http.NotFound(w, r)
			return
		}
		header := w.Header()
		header.Set("Content-Type", file.kind)
		header.Set("ETag", `"`+file.hash+`"`)
		header.Set("Cache-Control", "no-cache")
		if r.URL.Query().Get("v") == file.hash {
			header.Set("Cache-Control", "public, max-age=31536000, immutable")
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(file.content))
	})
}
