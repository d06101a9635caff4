// A go-smtp server that reads every message and counts messages and octets, with
// the same two lines of JSON as benchmarks/serve.py. For Debian's package
// golang-github-emersion-go-smtp-dev.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"

	"github.com/emersion/go-smtp"
)

var messages, octets int64

type backend struct{}

func (backend) Login(*smtp.ConnectionState, string, string) (smtp.Session, error) {
	return nil, smtp.ErrAuthUnsupported
}

func (backend) AnonymousLogin(*smtp.ConnectionState) (smtp.Session, error) {
	return session{}, nil
}

type session struct{}

func (session) Reset()                              {}
func (session) Logout() error                       { return nil }
func (session) Mail(string, smtp.MailOptions) error { return nil }
func (session) Rcpt(string) error                   { return nil }

func (session) Data(body io.Reader) error {
	count, err := io.Copy(io.Discard, body)
	atomic.AddInt64(&messages, 1)
	atomic.AddInt64(&octets, count)
	return err
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	server := smtp.NewServer(backend{})
	server.Domain = "bench.example"
	server.AuthDisabled = true
	go server.Serve(listener)
	fmt.Printf("{\"port\": %d}\n", listener.Addr().(*net.TCPAddr).Port)
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM)
	<-terminated
	fmt.Printf("{\"messages\": %d, \"octets\": %d}\n", messages, octets)
}
