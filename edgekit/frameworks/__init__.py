"""The only places that open files of Keras and TFLite; shared by the families."""
