// Command fakeprogram stands in for the programs of this repository in the tests of
// what starts them: it takes their flags and shows their surface, and does what its
// test wants to see.
package main

import (
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
)

func main() {
	config := flag.String("config", "", "")
	node := flag.String("node-name", "", "")
	kubeconfig := flag.String("kubeconfig", "", "")
	listen := flag.String("listen", "127.0.0.1:0", "")
	check := flag.Bool("check-config", false, "")
	fail := flag.Bool("fail", false, "end before listening")
	reviews := flag.String("reviews", "", "say that reviews are served there")
	flag.Parse()
	if *check {
		fmt.Fprintln(os.Stdout, "node", *node, "environment", os.Environ())
		fmt.Fprintln(os.Stderr, "no good")
		os.Exit(2)
	}
	if *fail {
		fmt.Fprintln(os.Stderr, "nothing works today")
		os.Exit(3)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	listener, err := net.Listen("tcp", *listen) //nolint:noctx // It lives as long as the process.
	if err != nil {
		panic(err)
	}
	content, err := os.ReadFile(*config)
	if err != nil {
		panic(err)
	}
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	log.Info("Listening", "address", listener.Addr().String())
	if *reviews != "" {
		log.Info("Listening", "for", "reviews", "address", *reviews)
	}
	fmt.Fprintln(os.Stderr, "a line that is no record")
	log.Info("Started", "node", *node, "kubeconfig", *kubeconfig, "config", string(content), "environment", strings.Join(os.Environ(), " "), "count", 7)

	var asked atomic.Int32
	http.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, "blind")
		}
	})
	http.HandleFunc("/metrics", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "# TYPE pods_total counter\npods_total{path=\"Lost\",kind=\"x\"} 2\n# TYPE up gauge\nup 1\n")
	})
	go func() { _ = http.Serve(listener, nil) }() //nolint:gosec // Only its test talks to it.
	<-stop
	log.Info("Stopped")
	os.Exit(4)
}
