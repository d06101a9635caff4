// go-smtp as a server and as a client, with the same lines of JSON as benchmarks/serve.py
// and benchmarks/send.py.
//
//	gosmtp serve [-lmtp] [-starttls | -tls] [-certificate FILE]
//	gosmtp send -port N -messages N -octets N [-lmtp] [-starttls] [-authority FILE]
//
// What differs between the version of Debian's package and later ones is in debian.go
// and later.go; the latter is built with the tag "later".
package main

import (
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/emersion/go-smtp"
)

const host = "127.0.0.1"

var (
	lmtp        = flag.Bool("lmtp", false, "LMTP")
	starttls    = flag.Bool("starttls", false, "STARTTLS")
	implicit    = flag.Bool("tls", false, "TLS from the first octet")
	certificate = flag.String("certificate", "", "file of the server's chain and key")
	authority   = flag.String("authority", "", "file of whom the client trusts")
	port        = flag.Int("port", 0, "of the server")
	count       = flag.Int("messages", 1, "messages that count")
	size        = flag.Int("octets", 4096, "of a message")
)

var messages, octets int64

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve() {
	listener, err := net.Listen("tcp", host+":0")
	must(err)
	server := smtp.NewServer(backend{})
	server.Domain = "bench.example"
	server.LMTP = *lmtp
	configure(server)
	if *certificate != "" {
		pair, err := tls.LoadX509KeyPair(*certificate, *certificate)
		must(err)
		server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{pair}}
	}
	fmt.Printf("{\"port\": %d}\n", listener.Addr().(*net.TCPAddr).Port)
	if *implicit {
		listener = tls.NewListener(listener, server.TLSConfig)
	}
	go server.Serve(listener)
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM)
	<-terminated
	fmt.Printf("{\"messages\": %d, \"octets\": %d}\n",
		atomic.LoadInt64(&messages), atomic.LoadInt64(&octets))
}

// The message of benchmarks/send.py.
func content() string {
	const header = "From: a@example.com\r\nTo: b@example.com\r\nSubject: load\r\n\r\n"
	const line = "The quick brown fox jumps over the lazy dog, and the dog lets it pass..\r\n"
	lines := (*size - len(header)) / len(line)
	if lines < 1 {
		lines = 1
	}
	return header + strings.Repeat(line, lines)
}

func spent() int64 {
	var usage syscall.Rusage
	must(syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return usage.Utime.Nano() + usage.Stime.Nano()
}

func send() {
	var config *tls.Config
	if *starttls {
		trusted, err := os.ReadFile(*authority)
		must(err)
		config = &tls.Config{RootCAs: x509.NewCertPool(), ServerName: host}
		config.RootCAs.AppendCertsFromPEM(trusted)
	}
	connection, err := net.Dial("tcp", fmt.Sprintf("%s:%d", host, *port))
	must(err)
	client, err := connect(connection, config)
	must(err)
	data := content()
	one := func() {
		must(envelope(client, "a@example.com", "b@example.com"))
		writer, err := client.Data()
		must(err)
		_, err = strings.NewReader(data).WriteTo(writer)
		must(err)
		must(writer.Close())
	}
	for n := 0; n < (*count+9)/10; n++ { // warm
		one()
	}
	start := spent()
	for n := 0; n < *count; n++ {
		one()
	}
	fmt.Printf("{\"microseconds\": %f}\n", float64(spent()-start)/1000/float64(*count))
	client.Quit()
}

func main() {
	mode := os.Args[1]
	flag.CommandLine.Parse(os.Args[2:])
	if mode == "send" {
		send()
	} else {
		serve()
	}
}
