package loader_test

import (
	"os"
	"testing"

	"github.com/candu-loader/candu-loader/loader/loadertest"
)

func TestMain(m *testing.M) { os.Exit(loadertest.Main(m)) }
