module github.com/pushbullet/engineer

go 1.21
