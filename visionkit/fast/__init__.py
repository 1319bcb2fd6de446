"""The fast form of a model: kept beside it for OpenVINO or ONNX Runtime, proven equal, and used by default on CPUs"""
