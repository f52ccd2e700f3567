module test-app

go 1.24

require github.com/pushbullet/engineer v0.0.0

replace github.com/pushbullet/engineer => ../../../engineer/go
